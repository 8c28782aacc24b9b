"""Trains a generator of inputs for a learned sampler, a conditional VAE.

    python -m trainers.train_generator --config=configs/digits.py --workdir=runs/generator

learns from the training split alone, and writes WORKDIR/generator.keras, which
`ecl_tf.samplers.Generated` takes. A generator that is there already is kept. The last
line says how the other scripts sample from it, along with config.xcl.sampler.
"""

from absl import app, flags

from trainers import command_line

for _name in ("config", "workdir", "strategy", "checkpoint_every"):
    flags.declare_key_flag(_name)
flags.mark_flags_as_required(["config", "workdir"])


def main(_):
    from ecl_tf.experiments import fitting, generation, work_directory
    from ecl_tf.experiments.experiment import Experiment, save_model

    config = command_line.CONFIG.value
    experiment = Experiment(config)
    vae = generation.build(experiment)  # Refuses what it can't learn before anything is written.
    workdir = work_directory.claim(command_line.WORKDIR.value, config)
    path = workdir / "generator.keras"
    if path.exists():
        work_directory.announce(f"{path} is there already; nothing to train.")
    else:
        generation.train(vae, experiment, workdir / "checkpoints" / "generator")
        save_model(vae.generator(), path)
        fitting.forget(workdir / "checkpoints" / "generator")
        work_directory.announce(f"Written to {path}.")
    sampler = generation.sampler_with(path, config.xcl.sampler.to_dict())
    work_directory.announce(f'To distil from it, too, give --config.xcl.sampler="{sampler}"')


if __name__ == "__main__":
    app.run(main)
