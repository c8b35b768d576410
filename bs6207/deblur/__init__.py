"""What does a discriminator add to L1 when restoring a blurred image?"""
