"""The examination of a trained model: gates that compare it with the model in the field, and one verdict.

| module | gate |
|---|---|
| `slices.py` | every question in every slice of the test set |
| `cases.py` | what the fleet once got wrong and was labelled |
| `robustness.py` | the same questions with a dead camera, noise, blur, darkness and mounts that turned |
| `calibration.py` | whether what the model says with 80 % probability is right in 80 % of the scenes |
| `temporal.py` | whether it flickers, decides late, or stops being right, over the pictures of a drive |
| `closed_loop.py` | what happens when it drives on the same roads as the model in the field |
| `budget.py` | time, memory and size of the exported model |

Each gate has a share of the probability with which a model is refused that lost nothing.
"""
