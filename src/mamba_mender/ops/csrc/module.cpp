// The extension module mamba_mender._C: what Python sees of the kernels.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_C, m) { m.doc() = "The C++ kernels of Mamba Mender."; }
