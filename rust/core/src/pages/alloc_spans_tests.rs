use super::super::testing::{CPU, NODE, pages, small};
use super::super::{Order, Source};
use super::*;

#[test]
fn a_span_is_as_long_as_asked_and_starts_a_chunk() {
    let pages = small();
    let span = pages.alloc_span(2 * CHUNK_SIZE + 1).expect("16 chunks");
    assert_eq!(span.in_chunk(), 0);
    assert_eq!(pages.counts().span_pages, u64::from(3 * CHUNK_PAGES));
}

#[test]
fn a_span_is_used_again_by_its_class() {
    let pages = small();
    let span = pages.alloc_span(3 * CHUNK_SIZE).expect("16 chunks");
    pages.free_span(span).expect("it is ours");
    assert_eq!(pages.alloc_span(3 * CHUNK_SIZE), Some(span));
}

#[test]
fn a_full_range_splits_larger_spans() {
    let pages = pages(Source::Anonymous, 8);
    let all = pages.alloc_span(8 * CHUNK_SIZE).expect("8 chunks");
    assert_eq!(pages.alloc_span(CHUNK_SIZE), None);
    pages.free_span(all).expect("it is ours");
    let parts: Vec<_> = core::iter::from_fn(|| pages.alloc_span(2 * CHUNK_SIZE)).collect();
    assert_eq!(parts, [0, 2, 4, 6].map(|chunk| ChunkIndex(chunk).page(0)));
}

#[test]
fn runs_use_the_chunks_of_free_spans_when_nothing_else_is_left() {
    let pages = pages(Source::Anonymous, 4);
    let all = pages.alloc_span(4 * CHUNK_SIZE).expect("4 chunks");
    assert_eq!(pages.alloc_run(Order(0), NODE, CPU), None);
    pages.free_span(all).expect("it is ours");
    let runs: Vec<_> = core::iter::from_fn(|| pages.alloc_run(Order(9), NODE, CPU)).collect();
    assert_eq!(runs.len(), 4);
    runs.into_iter().for_each(|run| pages.free_run(run, Order(9)).expect("it is ours"));
    assert_eq!(pages.counts().dirty_free_pages, u64::from(4 * CHUNK_PAGES), "the span's dirt is not forgotten");
}

#[test]
fn sizes_that_cannot_be_are_none() {
    let pages = small();
    assert_eq!(pages.alloc_span(17 * CHUNK_SIZE), None);
    assert_eq!(pages.alloc_span(usize::MAX), None);
}

#[test]
fn misuse_is_an_error_value() {
    let pages = small();
    let span = pages.alloc_span(3 * CHUNK_SIZE).expect("16 chunks");
    let run = pages.run(0);
    assert_eq!(pages.free_span(PageIndex(span.0 + 1)), Err(FreeError::NoSpan));
    assert_eq!(pages.free_span(PageIndex(span.0 + CHUNK_PAGES)), Err(FreeError::NoSpan), "inside");
    assert_eq!(pages.free_span(run), Err(FreeError::NoSpan));
    assert_eq!(pages.free_run(span, Order(9)), Err(FreeError::NoRun));
    assert_eq!(pages.free_span(span), Ok(()));
    assert_eq!(pages.free_span(span), Err(FreeError::DoubleFree));
}
