"""Networks: ``nn.Module`` objects with raw logits or linear outputs, and nothing else."""
