"""The peer of orchestration.toml: the same number of jobs under Hydra, each of which does nothing.

    python orchestration_hydra.py -m "+lr=range(0,100)" "+seed=range(0,2)"
"""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def job(config: DictConfig) -> None:
    pass


if __name__ == "__main__":
    job()
