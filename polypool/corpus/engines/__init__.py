"""Who makes the shards: this process, several of this machine, or Ray. All make the same files."""

from polypool.corpus.engines.local import run_here, run_local

ENGINES = ("local", "ray")

__all__ = ["ENGINES", "run_here", "run_local"]
