use super::super::testing::{pages, small};
use super::super::{Order, Source};
use super::*;

const CHUNK_PAGES: u32 = Order::MAX.pages();

#[test]
fn stretches_cross_words() {
    let mut masks = [0; WORDS];
    masks[0] = 0b1001 | 1 << 63;
    masks[1] = 0b11;
    masks[7] = 1 << 63;
    assert_eq!(stretches(&masks).collect::<Vec<_>>(), [(0, 1), (3, 1), (63, 3), (511, 1)]);
    assert_eq!(stretches(&[!0; WORDS]).collect::<Vec<_>>(), [(0, 512)]);
    assert_eq!(stretches(&[0; WORDS]).count(), 0);
    assert_eq!(stretch_masks(63, 3)[..2], [1 << 63, 0b11]);
}

#[test]
fn what_is_free_goes_and_what_is_live_stays() {
    for source in [Source::Anonymous, Source::Memfd] {
        let name = source.name();
        let pages = pages(source, 16);
        let runs: Vec<_> = (0..8 * CHUNK_PAGES / 4).map(|_| pages.run(2)).collect();
        // SAFETY: these runs are ours.
        runs.iter().for_each(|&run| unsafe { pages.stamp(run, 4, u64::from(run.0) + 1) });
        let peak = pages.resident();
        assert_eq!(peak, 8 * CHUNK_SIZE, "{name}");

        // One live run in each of the four lower chunks, nothing in the upper ones.
        let (live, free): (Vec<_>, Vec<_>) =
            runs.into_iter().partition(|run| run.0 < 4 * CHUNK_PAGES && run.in_chunk() == 60);
        free.iter().for_each(|&run| pages.free_run(run, Order(2)).expect("it is ours"));
        assert_eq!(pages.resident(), peak, "{name}: nothing is given back inside a free");

        let kept = live.len() * 4 * PAGE_SIZE;
        assert_eq!(pages.trim(), peak - kept, "{name}");
        assert_eq!(pages.resident(), kept, "{name}");
        // SAFETY: these runs are still ours.
        assert!(live.iter().all(|&run| unsafe { pages.is_stamped(run, 4, u64::from(run.0) + 1) }), "{name}");
        assert_eq!(pages.counts().dirty_free_pages, 0, "{name}");
        assert_eq!(pages.trim(), 0, "{name}: nothing is left to give");

        let again = pages.run(9);
        // SAFETY: the run is ours.
        assert!(unsafe { pages.is_stamped(again, CHUNK_PAGES, 0) }, "{name}: trimmed pages read as zeros");
    }
}

#[test]
fn free_spans_go_too_and_keep_their_order() {
    let pages = small();
    let spans: Vec<_> = (0..3).map(|_| pages.alloc_span(2 * CHUNK_SIZE).expect("16 chunks")).collect();
    for &span in &spans {
        // SAFETY: the span is ours.
        unsafe { pages.stamp(span, 2 * CHUNK_PAGES, 7) };
        pages.free_span(span).expect("it is ours");
    }
    assert_eq!(pages.trim(), 6 * CHUNK_SIZE);
    assert_eq!((pages.resident(), pages.trim()), (0, 0));
    let again: Vec<_> = (0..3).map(|_| pages.alloc_span(2 * CHUNK_SIZE).expect("16 chunks")).collect();
    assert!(again.iter().eq(spans.iter().rev()));
}
