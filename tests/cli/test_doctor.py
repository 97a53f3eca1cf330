import pytest
import torch

from mamba_mender import ops
from mamba_mender.cli.__main__ import main
from mamba_mender.cli.doctor import conv_errors, facts, measured, openmp_runtimes, scan_errors


def doctor(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return ended.value.code, capsys.readouterr().out


def test_names_the_instruction_sets_that_the_processor_lacks(monkeypatch):
    monkeypatch.setattr("mamba_mender.ops.cpu.lacking_instruction_sets", lambda: ["avx512"])
    rows = [str(cell) for column in facts().columns for cell in column.cells]
    assert any("not on this processor: avx512" in row for row in rows)


def test_reports_each_backend_and_what_it_runs_on(capsys):
    code, out = doctor(capsys)
    assert code == 0
    assert "WRONG" not in out
    for word in ("cpu", "reference", "ok", "processor", "threads", f"torch {torch.__version__}"[:12]):
        assert word in out


def test_says_why_a_backend_cannot_run_and_builds_nothing_anew_for_it(capsys, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    _, out = doctor(capsys)
    assert "triton cannot run: " in out
    assert "mamba_ssm cannot run: it needs tensors on a GPU, got cpu." in out
    assert "--force-reinstall" not in out


def test_a_backend_without_a_convolution_is_measured_by_its_scan(monkeypatch):
    monkeypatch.setattr("mamba_mender.cli.doctor.scan_errors", lambda backend, device: (1e-7, 2e-7))
    assert list(measured("triton", "cpu")) == [("triton", (1e-7, 2e-7))]
    ((_, errors),) = measured("reference", "cpu")
    assert errors[:2] == (1e-7, 2e-7)
    assert len(errors) == 4


def test_fails_when_an_error_is_above_the_tolerance(capsys):
    code, out = doctor(capsys, "--tolerance", "1e-12")
    assert code == 1
    assert "off from the float64 reference by more than 1e-12" in out
    assert "--force-reinstall --no-cache-dir" in out


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "foo"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(device, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--device", device])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert f"there is no device '{device}' here; --device must be one of ['cpu']" in told.err


def test_errors_are_small_but_not_zero(backend):
    for error in (*scan_errors(backend, "cpu"), *conv_errors(backend, "cpu")):
        assert 0 < error < 1e-5


@pytest.mark.parametrize("value", [0.1, float("nan")])
def test_a_kernel_that_is_wrong_in_single_precision_is_found(value, monkeypatch, capsys):
    right = ops.selective_scan

    def off(u, *rest, **options):
        y, last = right(u, *rest, **options)
        return (y + value, last) if u.dtype == torch.float32 else (y, last)

    monkeypatch.setattr(ops, "selective_scan", off)
    code, out = doctor(capsys)
    assert code == 1
    assert "WRONG" in out


def test_openmp_libraries_are_found_once(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 0 08:01 1 /a/torch/lib/libgomp.so.1\n"
        "7f02-7f03 r--p 0 08:01 1 /a/torch/lib/libgomp.so.1\n"
        "7f04-7f05 r-xp 0 08:01 2 /a/sklearn.libs/libgomp-947d5fa1.so.1.0.0\n"
        "7f06-7f07 r-xp 0 08:01 3 /lib/libc.so.6\n"
    )
    assert openmp_runtimes(maps) == ["/a/sklearn.libs/libgomp-947d5fa1.so.1.0.0", "/a/torch/lib/libgomp.so.1"]
    assert openmp_runtimes(tmp_path / "missing") == []
