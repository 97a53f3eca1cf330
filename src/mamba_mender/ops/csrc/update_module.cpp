// The Python bindings of the decoding kernels. Shapes and dtypes were checked in ops/state_update.py, conv_update.py.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <map>
#include <stdexcept>

#include "update.h"

namespace nb = nanobind;

namespace baseline {
UpdateKernels update_kernels();
}
namespace avx2 {
UpdateKernels update_kernels();
}
namespace avx512 {
UpdateKernels update_kernels();
}

namespace {

const UpdateKernels& kernels(const std::string& isa) {
  static const std::map<std::string, UpdateKernels> found = [] {
    std::map<std::string, UpdateKernels> table;
    for (const std::string& name : instruction_sets()) {
#if HAVE_AVX512
      if (name == "avx512") table[name] = avx512::update_kernels();
#endif
#if HAVE_AVX2
      if (name == "avx2") table[name] = avx2::update_kernels();
#endif
      if (name == "baseline") table[name] = baseline::update_kernels();
    }
    return table;
  }();
  const auto entry = found.find(isa);
  if (entry == found.end()) throw std::invalid_argument("this processor cannot run instruction set '" + isa + "'");
  return entry->second;
}

// A tensor as Python passes it: None, or (address, element type, stride, stride, ...).
Array array(nb::handle given) {
  Array a;
  if (given.is_none()) return a;
  const nb::tuple facts = nb::borrow<nb::tuple>(given);
  const size_t axes = nb::len(facts) - 2;
  if (axes > 4) throw std::invalid_argument("a tensor of a decoding kernel has at most 4 axes");
  a.data = reinterpret_cast<char*>(nb::cast<int64_t>(facts[0]));
  a.type = nb::cast<int>(facts[1]);
  for (size_t i = 0; i < axes; ++i) a.stride[i] = nb::cast<int64_t>(facts[i + 2]);
  return a;
}

// Split the axis of all channels, at `axis`, into heads of `dim` channels.
Array split(Array a, int axis, int64_t dim) {
  for (int i = 3; i > axis; --i) a.stride[i] = a.stride[i - 1];
  a.stride[axis] *= dim;
  return a;
}

void run_state_update(const std::string& isa, bool twice, int threads, std::array<int64_t, 5> sizes, bool headed,
                      bool softplus, const nb::tuple& tensors) {
  StateUpdate p = {};
  p.batch = sizes[0], p.heads = sizes[1], p.dim = sizes[2], p.state = sizes[3], p.groups = sizes[4];
  p.softplus = softplus, p.threads = threads;
  Array* const arrays[] = {&p.h, &p.x, &p.dt, &p.A, &p.B, &p.C, &p.D, &p.z, &p.bias, &p.out};
  for (int i = 0; i < 10; ++i) *arrays[i] = array(tensors[i]);
  if (!headed) {
    for (Array* a : {&p.h, &p.x, &p.dt, &p.z, &p.out}) *a = split(*a, 1, p.dim);
    for (Array* a : {&p.A, &p.D, &p.bias}) *a = split(*a, 0, p.dim);
  }
  for (auto [a, i] : {std::pair(&p.B, 4), std::pair(&p.C, 5)})
    if (nb::len(nb::handle(tensors[i])) == 4) a->stride[2] = a->stride[1], a->stride[1] = 0;  // (batch, state): one group
  const UpdateKernels& k = kernels(isa);
  nb::gil_scoped_release release;
  k.state[twice](p);
}

void run_conv_update(const std::string& isa, bool twice, int threads, std::array<int64_t, 5> sizes, bool silu,
                     const nb::tuple& tensors) {
  ConvUpdate p = {};
  p.batch = sizes[0], p.channels = sizes[1], p.length = sizes[2], p.width = sizes[3], p.past_length = sizes[4];
  p.silu = silu, p.threads = threads;
  Array* const arrays[] = {&p.x, &p.past, &p.weight, &p.bias, &p.out};
  for (int i = 0; i < 5; ++i) *arrays[i] = array(tensors[i]);
  const UpdateKernels& k = kernels(isa);
  nb::gil_scoped_release release;
  k.conv[twice](p);
}

}  // namespace

void bind_updates(nb::module_& m) {
  m.def("state_update", &run_state_update);
  m.def("conv_update", &run_conv_update);
}
