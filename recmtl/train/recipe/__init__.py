"""What a training is made of beside the network: its settings, and what each step does."""
