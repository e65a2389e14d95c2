//! The core's counters under the report's names.
#![forbid(unsafe_code)]

use crate::oracle::subject::Counter;
use haybarn::Stat;

/// The core's counter behind a counter of the report; none behind those that a scenario counts itself.
pub(super) fn stat(counter: Counter) -> Option<Stat> {
    Some(match counter {
        Counter::Refill => Stat::SheafRefill,
        Counter::Flush => Stat::SheafFlush,
        Counter::BarnGet => Stat::BarnGet,
        Counter::BarnPut => Stat::BarnPut,
        Counter::NewSlab => Stat::AllocSlab,
        Counter::FreedSlab => Stat::FreeSlab,
        Counter::Drain => Stat::Drain,
        Counter::DrainRetry => Stat::DrainRetry,
        Counter::CasFail => Stat::CmpxchgDoubleFail,
        Counter::Constructed => Stat::CtorObject,
        Counter::Destructed => Stat::DtorObject,
        Counter::CtorFailed => Stat::CtorFail,
        Counter::QueuedFree => Stat::FreeQueued,
        Counter::ReapedSlab => Stat::ReapSlab,
        Counter::PrefillFast => Stat::SheafPrefillFast,
        Counter::PrefillSlow => Stat::SheafPrefillSlow,
        Counter::PrefillOversize => Stat::SheafPrefillOversize,
        Counter::ReturnFast => Stat::SheafReturnFast,
        Counter::ReturnSlow => Stat::SheafReturnSlow,
        Counter::RcuSheaf => Stat::FreeRcuSheaf,
        Counter::RcuLoose => Stat::FreeRcuSheafFail,
        Counter::RcuDone => Stat::FreeRcuDone,
        Counter::NodeMismatch => Stat::AllocNodeMismatch,
        Counter::SlowFree => Stat::FreeSlowpath,
        _ => return None,
    })
}
