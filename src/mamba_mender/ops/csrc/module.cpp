// The Python bindings: raw pointers and strides in, nothing out. What is public has checked shapes and dtypes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <array>
#include <vector>

#include "scan.h"

namespace nb = nanobind;

#define DECLARE(isa)                                        \
  namespace isa {                                           \
  void scan_kernels(Kernels<float>&, Kernels<double>&);     \
  void conv_kernels(Kernels<float>&, Kernels<double>&);     \
  }
DECLARE(baseline)
#if HAVE_AVX2
DECLARE(avx2)
#endif
#if HAVE_AVX512
DECLARE(avx512)
#endif

namespace {
struct Scratch {
  char* memory = nullptr;
  size_t size = 0;
  ~Scratch() { std::free(memory); }
};
}  // namespace

void* scratch(size_t bytes) {
  static thread_local Scratch own;
  if (bytes > own.size) {
    std::free(own.memory);
    own.size = (bytes + 4095) & ~size_t(4095);
    own.memory = static_cast<char*>(std::aligned_alloc(64, own.size));
    if (!own.memory) {  // inside a parallel region, where nothing can be thrown
      std::fprintf(stderr, "mamba_mender: a kernel found no memory for %zu bytes\n", own.size);
      std::abort();
    }
  }
  return own.memory;
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
#if HAVE_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    names.push_back("avx512");
#endif
#if HAVE_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    names.push_back("avx2");
#endif
  names.push_back("baseline");
  return names;
}

void bind_updates(nb::module_&);
void bind_norms(nb::module_&);

namespace {

template <class S> struct Table {
  Kernels<S> baseline, avx2, avx512;
};
Table<float> table_float;
Table<double> table_double;

void fill_tables() {
  baseline::scan_kernels(table_float.baseline, table_double.baseline);
  baseline::conv_kernels(table_float.baseline, table_double.baseline);
#if HAVE_AVX2
  avx2::scan_kernels(table_float.avx2, table_double.avx2);
  avx2::conv_kernels(table_float.avx2, table_double.avx2);
#endif
#if HAVE_AVX512
  avx512::scan_kernels(table_float.avx512, table_double.avx512);
  avx512::conv_kernels(table_float.avx512, table_double.avx512);
#endif
}

template <class S> const Kernels<S>& kernels(const Table<S>& table, const std::string& isa) {
  for (const std::string& name : instruction_sets())
    if (name == isa) return isa == "avx512" ? table.avx512 : isa == "avx2" ? table.avx2 : table.baseline;
  throw std::invalid_argument("this processor cannot run instruction set '" + isa + "'");
}
template <class S> const Kernels<S>& kernels(const std::string& isa);
template <> const Kernels<float>& kernels<float>(const std::string& isa) { return kernels(table_float, isa); }
template <> const Kernels<double>& kernels<double>(const std::string& isa) { return kernels(table_double, isa); }

// A tensor as Python passes it: (address, stride, stride, ...), by name; a missing name is a missing tensor.
struct Tensors {
  const nb::dict& dict;
  template <size_t N> std::array<int64_t, N> get(const char* name) const {
    if (!dict.contains(name)) return {};
    return nb::cast<std::array<int64_t, N>>(dict[name]);
  }
  template <class S> S* pointer(const char* name) const { return reinterpret_cast<S*>(get<1>(name)[0]); }
  template <class S> View<S> view(const char* name) const {
    const auto [address, batch, group, channel, time, kind] = get<6>(name);
    return {reinterpret_cast<const char*>(address), batch, group, channel, time, kind};
  }
  template <class S> Output<S> output(const char* name) const {
    const auto [address, batch, group, time, kind] = get<5>(name);
    return {reinterpret_cast<char*>(address), batch, group, time, kind};
  }
  template <class S> MatrixGradient<S> matrix_gradient(const char* name) const {
    const auto [address, slot, batch, group, time] = get<5>(name);
    return {reinterpret_cast<S*>(address), slot, batch, group, time};
  }
};

// sizes: batch, channels, length, state, groups, slots, segments, rows of the grid.
template <class S>
void run_scan(const std::string& isa, const std::string& pass, int threads, std::array<int64_t, 8> sizes, bool softplus,
              bool merged, const std::vector<int64_t>& orders, bool constant_B, bool constant_C, const nb::dict& dict) {
  const Tensors t = {dict};
  Scan<S> p = {};
  p.batch = sizes[0], p.channels = sizes[1], p.length = sizes[2], p.state = sizes[3], p.groups = sizes[4];
  p.slots = sizes[5], p.segments = sizes[6], p.rows = sizes[7];
  p.softplus = softplus, p.merged = merged, p.threads = threads;
  p.orders = orders.data(), p.order_stride = orders.size() > 1;
  const char* names[2][9] = {{"u", "delta", "z", "A", "B", "C", "D", "bias", "initial"},
                             {"u'", "delta'", "z'", "A'", "B'", "C'", "D'", "bias'", "initial'"}};
  for (int i = 0; i < 2; ++i) {
    p.u[i] = t.view<S>(names[i][0]), p.delta[i] = t.view<S>(names[i][1]), p.z[i] = t.view<S>(names[i][2]);
    p.A[i] = t.pointer<S>(names[i][3]);
    p.B.view[i] = t.view<S>(names[i][4]), p.C.view[i] = t.view<S>(names[i][5]);
    p.D[i] = t.pointer<S>(names[i][6]), p.bias[i] = t.pointer<S>(names[i][7]);
    p.initial[i] = t.pointer<S>(names[i][8]);
  }
  p.B.constant = constant_B, p.C.constant = constant_C;
  p.grad_y = t.view<S>("grad_y");
  p.grad_last = t.pointer<S>("grad_last");
  p.saved[0] = t.pointer<S>("saved"), p.saved[1] = t.pointer<S>("saved'");
  p.y = t.output<S>("y");
  p.last = t.pointer<S>("last");
  p.grad_u = t.output<S>("grad_u"), p.grad_delta = t.output<S>("grad_delta"), p.grad_z = t.output<S>("grad_z");
  p.grad_A = t.pointer<S>("grad_A"), p.grad_D = t.pointer<S>("grad_D"), p.grad_bias = t.pointer<S>("grad_bias");
  p.grad_initial = t.pointer<S>("grad_initial");
  p.grad_B = t.matrix_gradient<S>("grad_B"), p.grad_C = t.matrix_gradient<S>("grad_C");
  const Kernels<S>& k = kernels<S>(isa);
  nb::gil_scoped_release release;
  (pass == "forward" ? k.scan_forward : pass == "backward" ? k.scan_backward : k.scan_second)(p);
}

template <class S>
void run_conv(const std::string& isa, const std::string& pass, int threads, std::array<int64_t, 5> sizes, bool silu,
              bool reverse, const nb::dict& dict) {
  const Tensors t = {dict};
  Conv<S> p = {};
  p.batch = sizes[0], p.channels = sizes[1], p.length = sizes[2], p.width = sizes[3], p.left = sizes[4];
  p.silu = silu, p.reverse = reverse, p.threads = threads;
  p.x[0] = t.view<S>("x"), p.x[1] = t.view<S>("x'");
  p.weight[0] = t.pointer<S>("weight"), p.weight[1] = t.pointer<S>("weight'");
  p.bias[0] = t.pointer<S>("bias"), p.bias[1] = t.pointer<S>("bias'");
  p.grad_y = t.view<S>("grad_y");
  p.y = t.output<S>("y");
  p.grad_x = t.output<S>("grad_x");
  p.grad_weight = t.pointer<S>("grad_weight");
  p.grad_bias = t.pointer<S>("grad_bias");
  const Kernels<S>& k = kernels<S>(isa);
  nb::gil_scoped_release release;
  (pass == "forward" ? k.conv_forward : pass == "backward" ? k.conv_backward : k.conv_second)(p);
}

}  // namespace

NB_MODULE(_C, m) {
  fill_tables();
  m.attr("CHUNK") = CHUNK;
  m.def("instruction_sets", &instruction_sets, "Instruction sets this processor can run, best first.");
  bind_updates(m);
  bind_norms(m);
  m.def("scan_float", &run_scan<float>);
  m.def("scan_double", &run_scan<double>);
  m.def("conv_float", &run_conv<float>);
  m.def("conv_double", &run_conv<double>);
}
