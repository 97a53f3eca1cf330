// The bindings of the normalisation: addresses of dense rows in, nothing out. Checked in ops/cpu_norm.py.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "norm.h"

namespace nb = nanobind;

#define DECLARE(isa) \
  namespace isa {    \
  void norm_kernels(NormKernels<float>&, NormKernels<double>&); \
  }
DECLARE(baseline)
#if HAVE_AVX2
DECLARE(avx2)
#endif
#if HAVE_AVX512
DECLARE(avx512)
#endif

namespace {

// The caller has made sure that the processor has the instruction set.
void fill(const std::string& isa, NormKernels<float>& single, NormKernels<double>& twice) {
#if HAVE_AVX512
  if (isa == "avx512") return avx512::norm_kernels(single, twice);
#endif
#if HAVE_AVX2
  if (isa == "avx2") return avx2::norm_kernels(single, twice);
#endif
  if (isa == "baseline") return baseline::norm_kernels(single, twice);
  throw std::invalid_argument("no kernel was built for instruction set '" + isa + "'");
}
const NormKernels<float>& chosen(const NormKernels<float>& single, const NormKernels<double>&, float) { return single; }
const NormKernels<double>& chosen(const NormKernels<float>&, const NormKernels<double>& twice, double) { return twice; }

// Addresses: x, weight and y, and twice 0; or x, weight, grad_x, grad_y and grad_weight.
template <class S>
void run_norm(const std::string& isa, int threads, std::array<int64_t, 2> sizes, double eps,
              std::array<int64_t, 5> addresses) {
  Norm<S> p = {};
  p.rows = sizes[0], p.channels = sizes[1], p.eps = S(eps), p.threads = threads;
  p.x = reinterpret_cast<const S*>(addresses[0]), p.weight = reinterpret_cast<const S*>(addresses[1]);
  const bool backwards = addresses[4] != 0;
  (backwards ? p.grad_x : p.y) = reinterpret_cast<S*>(addresses[2]);
  p.grad_y = reinterpret_cast<const S*>(addresses[3]);
  p.grad_weight = reinterpret_cast<S*>(addresses[4]);
  NormKernels<float> single;
  NormKernels<double> twice;
  fill(isa, single, twice);
  const NormKernels<S>& k = chosen(single, twice, S());
  nb::gil_scoped_release release;
  (backwards ? k.backward : k.forward)(p);
}

}  // namespace

void bind_norms(nb::module_& m) {
  m.attr("ROWS_A_SHARE") = ROWS_A_SHARE;
  m.def("norm_float", &run_norm<float>);
  m.def("norm_double", &run_norm<double>);
}
