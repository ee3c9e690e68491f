"""What the tests share: tiny tokenizers, tiny checkpoints in every layout, and two oracles."""
