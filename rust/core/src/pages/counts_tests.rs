use super::super::Order;
use super::super::ids::CHUNK_SIZE;
use super::super::testing::small;

#[test]
fn each_kind_of_page_is_counted_once() {
    let pages = small();
    assert_eq!(pages.counts().chunks, 0);
    let runs = [pages.run(0), pages.run(3), pages.run(7)];
    let span = pages.alloc_span(2 * CHUNK_SIZE).expect("16 chunks");
    let counts = pages.counts();
    assert_eq!((counts.run_pages, counts.span_pages, counts.dirty_free_pages), (1 + 8 + 128, 1024, 0));
    assert_eq!((counts.chunks, counts.reserved_chunks), (3, 16));
    pages.free_run(runs[1], Order(3)).expect("it is ours");
    pages.free_span(span).expect("it is ours");
    let counts = pages.counts();
    assert_eq!((counts.run_pages, counts.span_pages, counts.dirty_free_pages), (129, 0, 8 + 1024));
}
