"""Defences against a person who is enrolled."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.planted import Change

_CAMPAIGNS = "services/campaign_keeper/transactions/campaigns.py"
_CAMPAIGN_CORE = "services/campaign_keeper/core.py"
_CURATOR = "services/dataset_curator/rpc.py"
_REQUESTS = "libraries/fleetloop/kit/security/requests.py"
_ENROLMENT = "libraries/fleetloop/api/enrolment.py"
_ADMISSION = "libraries/fleetloop/kit/security/admission.py"
_INSTALLATION = "libraries/fleetloop/api/installation.py"
_PKI = "libraries/fleetloop/kit/security/pki.py"
_AUTHORITY = "libraries/fleetloop/api/authority.py"
_ROLES_TEST = "tests/security/test_a_labeller_cannot_roll_back_a_model.py"
_CAMPAIGN_TEST = "tests/security/test_a_campaign_needs_a_second_person.py"
_SETS_TEST = "tests/security/test_a_test_set_needs_a_second_person.py"
_RELEASE_TEST = "tests/security/test_a_release_needs_a_second_person.py"
_KEYS_TEST = "tests/security/test_private_keys_stay_with_their_owner.py"
_COMMAND_TEST = "tests/security/test_the_command_line_needs_no_authority_key.py"
_RENEWAL_TEST = "tests/security/test_the_authority_is_renewed_without_a_gap.py"
_LABELLER = "a labeller changes campaigns or rolls back a model"
_STARTS = "starts a harmful campaign without another person"
_EXAM = "makes the exam easier"
_RELEASES = "releases their own model"
_ENROLS = "enrols somebody else's key, or reuses a revoked one"
_NEEDS = "needs the authority's key for daily work, so that it lies around"
_OLD = "the authority's key is old or in wrong hands"

PEOPLE = (
    Defence(
        _LABELLER,
        "config/access.yaml lets no labeller call RollBack",
        (
            Change(
                "config/access.yaml",
                "RolloutService/RollBack: {roles: [release-manager, operator]}",
                "RolloutService/RollBack: {roles: [release-manager, operator, labeller]}",
            ),
        ),
        _ROLES_TEST,
    ),
    Defence(
        _LABELLER,
        "config/access.yaml lets no labeller change a campaign",
        (
            Change(
                "config/access.yaml",
                "CampaignService/SetCampaignState: {roles: [ml-engineer,",
                "CampaignService/SetCampaignState: {roles: [labeller, ml-engineer,",
            ),
        ),
        _ROLES_TEST,
    ),
    Defence(
        _LABELLER,
        "one of the roles of a method is needed",
        (
            Change(
                "libraries/fleetloop/kit/security/access.py",
                "            return any(role in rule.roles for role in roles)\n",
                "            return bool(roles)\n",
            ),
        ),
        _ROLES_TEST,
    ),
    Defence(
        _STARTS,
        "no author of a campaign approves it",
        (
            Change(
                _CAMPAIGN_CORE,
                '    return not second_person or (by != "" and by not in authors_of(campaign))\n',
                "    return True\n",
            ),
        ),
        _CAMPAIGN_TEST,
    ),
    Defence(
        _STARTS,
        "a new campaign waits for approval",
        (
            Change(
                _CAMPAIGN_CORE,
                "        return State.WAITING if second_person else State.RUNNING\n",
                "        return State.RUNNING\n",
            ),
        ),
        _CAMPAIGN_TEST,
    ),
    Defence(
        _STARTS,
        "a campaign that is changed waits again",
        (
            Change(
                _CAMPAIGN_CORE,
                "    if second_person and changes and before in (State.RUNNING, State.SUSPENDED):\n",
                "    if False:\n",
            ),
            Change(
                _CAMPAIGNS,
                "    unapproved = before is None or not change.is_empty or not before.approved_by\n",
                "    unapproved = before is None or not before.approved_by\n",
            ),
        ),
        _CAMPAIGN_TEST,
    ),
    Defence(
        _STARTS,
        "all who changed a part are authors",
        (Change(_CAMPAIGN_CORE, "    return tuple(sorted({*earlier, by}))\n", "    return (by,)\n"),),
        _CAMPAIGN_TEST,
    ),
    Defence(
        _STARTS,
        "a campaign that was never approved is not resumed by its author",
        (
            Change(
                _CAMPAIGNS,
                "    if wanted is State.RUNNING and (current is State.WAITING or not before.approved_by):\n",
                "    if wanted is State.RUNNING and current is State.WAITING:\n",
            ),
        ),
        _CAMPAIGN_TEST,
    ),
    Defence(
        _STARTS,
        "the service asks the configuration",
        (
            Change(
                "services/campaign_keeper/__main__.py",
                "examine, drops, policy.second_person.campaigns)",
                "examine, drops)",
            ),
        ),
        _CAMPAIGN_TEST,
    ),
    Defence(
        _EXAM,
        "a test set needs two people",
        (
            Change(
                _CURATOR,
                "        if request.frozen and self._second_person:\n",
                "        if False:\n",
            ),
        ),
        _SETS_TEST,
    ),
    Defence(
        _EXAM,
        "the second person is another",
        (Change(_CURATOR, "        if proposed_by == by:\n", "        if False:\n"),),
        _SETS_TEST,
    ),
    Defence(
        _EXAM,
        "both people ask for the same set",
        (
            Change(
                "services/dataset_curator/core.py",
                "        (each.sample_id, each.content_sha256, each.task, each.choice, each.slice, each.place, answers)\n",
                "        (each.sample_id, each.content_sha256, each.task, each.choice, each.slice, each.place)\n",
            ),
        ),
        _SETS_TEST,
    ),
    Defence(
        _EXAM,
        "a proposal expires",
        (
            Change(
                "services/dataset_curator/transactions.py",
                "    if known is not None and now_utc_ns - known.proposed_at_utc_ns < seconds_to_ns(PROPOSAL_S):\n",
                "    if known is not None:\n",
            ),
        ),
        _SETS_TEST,
    ),
    Defence(
        _EXAM,
        "the service asks the configuration about test sets",
        (Change("services/dataset_curator/__main__.py", "= policy.second_person.test_sets", "= False"),),
        _SETS_TEST,
    ),
    Defence(
        _RELEASES,
        "who started the training run does not approve the release",
        (
            Change(
                "services/rollout_controller/transactions/actions.py",
                "    if passed_run_from(tx.session.get_one(ModelRow, row.digest).run).started_by == action.by:\n",
                "    if False:\n",
            ),
        ),
        _RELEASE_TEST,
    ),
    Defence(
        _RELEASES,
        "a good canary waits for approval",
        (
            Change(
                "services/rollout_controller/core.py",
                "        if move.stage is Stage.RELEASED and plan.needs_approval and not approved_by:\n",
                "        if False:\n",
            ),
        ),
        _RELEASE_TEST,
    ),
    Defence(
        _RELEASES,
        "only a canary is approved",
        (
            Change(
                "services/rollout_controller/transactions/actions.py",
                "    next_state(row_state(row), event, Actor.PERSON)\n",
                "",
            ),
        ),
        _RELEASE_TEST,
    ),
    Defence(
        _RELEASES,
        "the service asks the configuration about releases",
        (
            Change(
                "services/rollout_controller/__main__.py",
                "needs_approval=policy.second_person.releases)",
                "needs_approval=False)",
            ),
        ),
        _RELEASE_TEST,
    ),
    Defence(
        _ENROLS,
        "a request proves the possession of its key",
        (Change(_REQUESTS, "    if not signed:\n", "    if False:\n"),),
        _KEYS_TEST,
    ),
    Defence(
        _ENROLS,
        "a request names who is enrolled",
        (Change(_REQUESTS, "    if found != identity:\n", "    if False:\n"),),
        _KEYS_TEST,
    ),
    Defence(
        _ENROLS,
        "a request has no other names",
        (Change(_REQUESTS, "    if len(names) != 1:\n", "    if False:\n"),),
        _KEYS_TEST,
    ),
    Defence(
        _ENROLS,
        "the key of a request is strong",
        (Change(_REQUESTS, "    return _strong(key)\n", "    return key  # type: ignore[return-value]\n"),),
        _KEYS_TEST,
    ),
    Defence(
        _ENROLS,
        "a revoked key is not signed again",
        (
            Change(
                _ENROLMENT,
                "                refuse_revoked_key(self.entries(), who, public_key_id(read_request(content, who)))\n",
                "",
            ),
        ),
        _KEYS_TEST,
    ),
    Defence(
        _ENROLS,
        "a revoked key is remembered after its entry is of another key",
        (
            Change(
                _ADMISSION,
                "            revoked_keys = tuple(dict.fromkeys((*revoked_keys, known.key)))\n",
                "            revoked_keys = ()\n",
            ),
        ),
        _KEYS_TEST,
    ),
    Defence(
        _NEEDS,
        "the command line calls with the person's own certificate",
        (
            Change(
                _INSTALLATION,
                '            found = load_credentials(self.layout.identities / "users" / name)\n',
                "            from fleetloop.kit.security.pki import CertificateAuthority\n\n"
                "            now = datetime.now(UTC)\n"
                '            folder = self.layout.identities / "authority"\n'
                "            authority = CertificateAuthority.open(folder, fleet=self.fleet_id, now=now)\n"
                '            found = authority.issue(who.kind, name, folder.parent / "users" / name, now=now)\n',
            ),
        ),
        _COMMAND_TEST,
    ),
    Defence(
        _NEEDS,
        "a certificate of another person is not used",
        (Change(_INSTALLATION, "            if found.identity != who:\n", "            if False:\n"),),
        _COMMAND_TEST,
    ),
    Defence(
        _OLD,
        "old certificates are trusted until the last step",
        (Change(_PKI, '        for name in ("next.pem", "former.pem"):\n', '        for name in ("next.pem",):\n'),),
        _RENEWAL_TEST,
    ),
    Defence(
        _OLD,
        "the next authority is trusted before it issues",
        (
            Change(
                _PKI, '        for name in ("next.pem", "former.pem"):\n', '        for name in ("former.pem",):\n'
            ),
        ),
        _RENEWAL_TEST,
    ),
    Defence(
        _OLD,
        "the former authority counts for nothing in the end",
        (Change(_PKI, '            (self._folder / "former.pem").unlink(missing_ok=True)\n', "            pass\n"),),
        _RENEWAL_TEST,
    ),
    Defence(
        _OLD,
        "the former authority is not retired while it is needed",
        (Change(_AUTHORITY, "        if waiting and not force:\n", "        if False:\n"),),
        _RENEWAL_TEST,
    ),
    Defence(
        _OLD,
        "a switch that dies is finished",
        (
            Change(
                _PKI,
                "            _finish_switch(folder)\n            certificate, key",
                "            certificate, key",
            ),
        ),
        _RENEWAL_TEST,
    ),
)
