//! A time limit that races with the reply. The shop sends the parcel in time, but a busy loop sees the
//! reply and the end of the time limit together, and the customer gets the money back too.

use onelane::explore::Explore;
use onelane::{Promise, explore, sleep, task, timeout};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Order {
    parcels: Cell<u32>,
    refunds: Cell<u32>,
    /// For the mended twin: who comes first decides what becomes of the order.
    is_decided: Cell<bool>,
    reply: Promise<()>,
}

async fn shop(order: Rc<Order>, asks: bool) {
    sleep(HOUR).await; // packs the parcel
    if asks && order.is_decided.replace(true) {
        return; // The customer does not wait any more.
    }
    order.parcels.set(order.parcels.get() + 1);
    _ = order.reply.set_result(());
}

async fn customer(order: Rc<Order>, asks: bool) {
    if timeout(2 * HOUR, async { (&order.reply).await }).await.is_ok() {
        return;
    }
    if asks && order.is_decided.replace(true) {
        return; // The parcel is on its way.
    }
    order.refunds.set(order.refunds.get() + 1);
}

fn order(asks: bool) -> Explore<'static> {
    explore(move || async move {
        let order = Rc::new(Order::default());
        let shop = task::Builder::new().name("shop").spawn(shop(order.clone(), asks));
        let customer = task::Builder::new().name("customer").spawn(customer(order.clone(), asks));
        shop.await.unwrap();
        customer.await.unwrap();
        assert_eq!(order.parcels.get() + order.refunds.get(), 1, "a parcel, or the money back, and not both");
    })
    .late_timers()
}

pub(crate) fn broken() -> Explore<'static> {
    order(false)
}

pub(crate) fn mended() -> Explore<'static> {
    order(true)
}
