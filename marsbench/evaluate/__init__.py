"""Finished runs evaluated on other tasks and corrupted samples, without training.

A call goes through these modules: `parents` finds the runs, `planning` matches their classes and
bands with the target's and names the evaluations, `run` carries them out by set difference,
`loop` passes the target's batches through the models, `scoring` scores them, `record` writes.

Evaluations whose models share a frozen backbone form a group (`planning.Evaluation.group`): `loop`
encodes each batch once for all of them. Images are corrupted in `loop.Batches`, on the device and
in [0, 1], before their bands are matched. Every choice that moves a score belongs into
`planning.Evaluation.identity`, absent at its default.
"""
