"""Defences against a vehicle that is enrolled: what it makes the fleet learn, and which model drives."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_EVIDENCE = "services/rollout_controller/evidence.py"
_QUERIES = "services/rollout_controller/queries.py"
_HINDSIGHT = "services/label_desk/hindsight.py"
_LABELS = "services/label_desk/transactions.py"
_UPDATER = "services/vehicle_agent/updater.py"
_CEREMONY = "libraries/fleetloop/embedded/ceremony.py"
_LYING_TEST = "tests/security/test_a_lying_vehicle_decides_no_rollout.py"
_EVIDENCE_TEST = "tests/unit/rollout_controller/test_evidence.py"
_HINDSIGHT_TEST = "tests/unit/label_desk/test_hindsight.py"
_AUDITS_TEST = "tests/unit/label_desk/test_audits.py"
_UPDATER_TEST = "tests/unit/vehicle_agent/test_updater.py"
_LIES = "reports what it did not do, to release a model or to roll one back"
_LABELS_ITSELF = "makes the model label its own mistakes"
_RECEIVES = "receives a model that was not assigned to it"

MODELS = (
    Defence(
        _LIES,
        "a report has the cohort that was assigned",
        (Change(_EVIDENCE, "    if said.cohort is not known.cohort:\n", "    if False:\n"),),
        _LYING_TEST,
    ),
    Defence(
        _LIES,
        "a report has the rollout that was assigned",
        (Change(_EVIDENCE, "    if said.rollout_id != known.rollout_id:\n", "    if False:\n"),),
        _EVIDENCE_TEST,
    ),
    Defence(
        _LIES,
        "a report has the models that were assigned",
        (
            Change(
                _EVIDENCE,
                "    if (said.active, said.shadow) != (known.active, known.shadow):\n",
                "    if False:\n",
            ),
        ),
        _EVIDENCE_TEST,
    ),
    Defence(
        _LIES,
        "a report has no more than fits into its window",
        (Change(_EVIDENCE, "    if not _is_possible(report):\n", "    if False:\n"),),
        _EVIDENCE_TEST,
    ),
    Defence(
        _LIES,
        "a vehicle reports of no more time than has passed",
        (
            Change(
                _EVIDENCE,
                "    if assigned.reported_s + report.window_s > (assigned.for_s + SLACK_S) * plan.vehicle_time_rate:\n",
                "    if False:\n",
            ),
        ),
        _EVIDENCE_TEST,
    ),
    Defence(
        _LIES,
        "a vehicle counts for at most a multiple of its cohort's mean",
        (
            Change(
                _EVIDENCE,
                "    if amount_of(report) > 0 and assigned.amount + amount_of(report) > "
                "most_of(report, assigned, plan):\n",
                "    if False:\n",
            ),
        ),
        _EVIDENCE_TEST,
    ),
    Defence(
        _LIES,
        "decisions hold when 3 % of the vehicles lie",
        (
            Change(
                "libraries/fleetloop/domain/sequential.py",
                "    return math.floor(vehicles * share + 1e-9)\n",
                "    return 0\n",
            ),
        ),
        _EVIDENCE_TEST,
    ),
    Defence(
        _LIES,
        "one vehicle's faults roll no model back",
        (
            Change(
                _QUERIES,
                "sa.func.sum(sa.case((EvidenceRow.faults > 0, 1), else_=0))",
                "sa.func.sum(EvidenceRow.faults)",
            ),
        ),
        _LYING_TEST,
    ),
    Defence(
        _LABELS_ITSELF,
        "hindsight needs a witness beside the model",
        (
            Change(
                _HINDSIGHT,
                "    if not (_person_braked(drive, halt_ns) or _map_promised(drive, task_name, halt_ns)):\n",
                "    if False:\n",
            ),
        ),
        _HINDSIGHT_TEST,
    ),
    Defence(
        _LABELS_ITSELF,
        "a person who takes over at the halt is no witness",
        (
            Change(
                _HINDSIGHT,
                "    return at_first == 0 and not np.asarray(engaged.values)[between].any()\n",
                "    return not np.asarray(engaged.values)[between][-1:].any()\n",
            ),
        ),
        _HINDSIGHT_TEST,
    ),
    Defence(
        _LABELS_ITSELF,
        "the map is a witness only near its feature",
        (
            Change(
                _HINDSIGHT,
                '    near = _at(drive, "Map.FeatureDistance", at_ns)[0] < MAP_NEAR_M\n',
                "    near = True\n",
            ),
        ),
        _HINDSIGHT_TEST,
    ),
    Defence(
        _LABELS_ITSELF,
        "an answer that people check does not decide",
        (
            Change(
                _LABELS,
                "    tx.session.flush()\n"
                "    decision = decide(votes_of(tx, row.task_id), row.agreement, "
                "math.inf if row.audited else automatic_bound)\n",
                "    tx.session.flush()\n"
                "    decision = decide(votes_of(tx, row.task_id), row.agreement, automatic_bound)\n",
            ),
        ),
        _AUDITS_TEST,
    ),
    Defence(
        _LABELS_ITSELF,
        "people check a share of the automatic answers",
        (
            Change(
                "services/label_desk/core.py",
                "    if is_first or chance < policy.share or not of_source.may_decide(policy.least_agreement):\n",
                "    if is_first or not of_source.may_decide(policy.least_agreement):\n",
            ),
        ),
        _AUDITS_TEST,
    ),
    Defence(
        _LABELS_ITSELF,
        "a source that people contradict decides nothing",
        (
            Change(
                "services/label_desk/core.py",
                "    if is_first or chance < policy.share or not of_source.may_decide(policy.least_agreement):\n",
                "    if is_first or chance < policy.share:\n",
            ),
        ),
        _AUDITS_TEST,
    ),
    Defence(
        _RECEIVES,
        "models need the signatures of two keys",
        (Change(_CEREMONY, "list(online), threshold=2,", "list(online), threshold=1,"),),
        _UPDATER_TEST,
    ),
    Defence(
        _RECEIVES,
        "a vehicle checks that the assignment is its own",
        (Change(_UPDATER, "        if whose != self._vehicle_id or ", "        if "),),
        _UPDATER_TEST,
    ),
    Defence(
        _RECEIVES,
        "the files of a model have the digest that the director named",
        (Change(_UPDATER, "        if artifact_digest(hashes) != digest:\n", "        if False:\n"),),
        _UPDATER_TEST,
    ),
    Defence(
        _RECEIVES,
        "files on a vehicle's own disk are checked again",
        (
            Change(
                _UPDATER,
                "            target.verify_length_and_hashes((folder / name).read_bytes())\n",
                "            (folder / name).read_bytes()\n",
            ),
        ),
        _UPDATER_TEST,
    ),
    Defence(
        _RECEIVES,
        "a vehicle remembers the newest metadata against a rollback",
        (
            Change(
                _UPDATER,
                "        folder = self._state / repository\n        folder.mkdir(parents=True, exist_ok=True)\n",
                "        folder = self._state / repository\n"
                "        shutil.rmtree(folder, ignore_errors=True)\n"
                "        folder.mkdir(parents=True, exist_ok=True)\n",
            ),
        ),
        _UPDATER_TEST,
    ),
)
