"""What each of two processes does in test_training_several_processes.py, under torchrun."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import tiny_training
from safetensors.torch import save_file

from pellucid.errors import NonFiniteError
from pellucid.training import module, session

SHARED = {"steps": 12, "batch_size": 4, "ema_decay": None}


def main(out: Path) -> None:
    rank = int(os.environ["RANK"])
    deploy = session.deploy
    results = {}

    def fit(name: str, **changes):
        def keep_live_weights(autoencoder, *args, **kwargs):
            path = out / f"{name}-live-{rank}.safetensors"
            state = {
                k: v.detach().clone().contiguous() for k, v in autoencoder.state_dict().items()
            }
            save_file(state, path)
            return deploy(autoencoder, *args, **kwargs)

        session.deploy = keep_live_weights
        result = tiny_training.tiny_fit(out / name, **(SHARED | changes))
        results[name] = [result.state, result.step]

    fit("first-steps", steps=5)
    rival = tiny_training.tiny_adversary(feature_weight=0.0)
    fit("adversarial", steps=5, adversary=rival)
    save_file(rival.discriminator.state_dict(), out / f"adversarial-rival-{rank}.safetensors")
    fit("vq-whole", kind="vq")
    step = module.TrainingModule.training_step

    def failing(self, batch, batch_idx):
        if self.step == 8:
            raise RuntimeError("the power went")
        return step(self, batch, batch_idx)

    module.TrainingModule.training_step = failing
    try:
        fit("vq-resumed", kind="vq")
    except RuntimeError as error:
        results["failure"] = str(error)
    module.TrainingModule.training_step = step
    fit("vq-resumed", kind="vq", resume=True)
    try:
        fit("nonfinite", kind="vq", accumulate=2, train_set=tiny_training.TinyImages(spoiled=11))
    except NonFiniteError as error:
        print(f"rank {rank}: {error}")
        results["nonfinite"] = str(error).splitlines()[0]

    def told_to_stop(self, batch, batch_idx):
        if self.step == 3 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    module.TrainingModule.training_step = told_to_stop
    fit("stopped", kind="gaussian")
    (out / f"results-{rank}.json").write_text(json.dumps(results))


main(Path(sys.argv[1]))
