//! Lays windows ready for the mapped tail, in a thread of its own.
//!
//! Not the worker's business: it syncs, for as long as a disk takes, and all that time appends would go without a map. The
//! thread is started with the first window that is wanted. Where one is made, and under which lock, is known to the desk of
//! the segment. The invariant it owns: no append waits here for more than the lock of a flag.

use std::sync::Arc;

use crate::config::NotMapped;
use crate::error::IoOp;
use crate::fs::Thread;
use crate::segment::SegmentWriter;
use crate::sync::{Condvar, Mutex};

use super::shared::Shared;

/// The orders of the thread.
#[derive(Debug, Default)]
pub(super) struct WindowMaker {
    orders: Mutex<Orders>,
    ordered: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    thread: Option<Thread>,
    is_stopping: bool,
    is_wanted: bool,
}

impl WindowMaker {
    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        let thread = {
            let mut orders = self.orders.lock();
            orders.is_stopping = true;
            orders.thread.take()
        };
        self.ordered.notify_all();
        if let Some(thread) = thread {
            thread.join();
        }
    }

    /// Sleeps until there is something to do. `false` at the end.
    fn wait(&self) -> bool {
        let mut orders = self.orders.lock();
        while !orders.is_wanted && !orders.is_stopping {
            self.ordered.wait(&mut orders);
        }
        orders.is_wanted = false;
        !orders.is_stopping
    }
}

impl Shared {
    /// The mapped tail wants its next windows.
    #[cold]
    pub(super) fn order_windows(self: &Arc<Self>) {
        if self.config.get().appends_prepare_windows {
            return self.lay_windows();
        }
        let mut orders = self.windows.orders.lock();
        if orders.is_stopping {
            return;
        }
        if orders.thread.is_none() {
            let shared = Arc::clone(self);
            let body = move || {
                while shared.windows.wait() {
                    shared.lay_windows();
                }
            };
            match self.core.env().spawn("kstore-windows", body) {
                Ok(thread) => orders.thread = Some(thread),
                Err(_) => {
                    drop(orders);
                    return self.refuse_windows(NotMapped::Window { operation: IoOp::StartThread });
                }
            }
        }
        orders.is_wanted = true;
        drop(orders);
        self.windows.ordered.notify_one();
    }

    /// Makes the windows that the writer wants, without keeping an append waiting.
    fn lay_windows(&self) {
        let place = |active: &SegmentWriter| (Arc::clone(active.log()), Arc::clone(active.desk()));
        let Some((log, desk)) = self.writer.lock().active.as_ref().map(place) else { return };
        if let Some(reason) = desk.prepare(&log) {
            let mut writer = self.writer.lock();
            if let Some(active) = writer.active.as_mut().filter(|active| Arc::ptr_eq(active.desk(), &desk)) {
                active.note_window_refused(reason);
            }
        }
    }

    fn refuse_windows(&self, reason: NotMapped) {
        if let Some(active) = self.writer.lock().active.as_mut() {
            active.note_window_refused(reason);
        }
    }
}
