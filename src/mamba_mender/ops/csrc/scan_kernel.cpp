// The selective scan for one instruction set. A tile is W channels; its state stays in registers over a chunk of
// steps. Work is cut by shape alone where sums depend on the cut, so results are the same for any number of threads.
#include "scan_backward.h"
#include "scan_forward.h"

namespace ISA {

template <class S> static void forward(const Scan<S>& p) { run_forward<Vector<S>>(p); }
template <class S> static void backward(const Scan<S>& p) { run_backward<Vector<S>>(p); }
template <class S> static void second(const Scan<S>& p) {
  run_forward<Dual<Vector<S>>>(p);
  run_backward<Dual<Vector<S>>>(p);
}

template <class S> static void fill(Kernels<S>& kernels) {
  kernels.scan_forward = forward<S>;
  kernels.scan_backward = backward<S>;
  kernels.scan_second = second<S>;
}
void scan_kernels(Kernels<float>& single, Kernels<double>& twice) {
  fill(single);
  fill(twice);
}

}  // namespace ISA
