//! Hands PyO3's facts about the interpreter (`Py_GIL_DISABLED`, `Py_3_12`, ...) on to this crate as `cfg`s.
#![forbid(unsafe_code)]

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
