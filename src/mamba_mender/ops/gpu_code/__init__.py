"""Code that Triton compiles. Importing its modules imports triton, so :mod:`mamba_mender.ops.gpu` does that, late."""
