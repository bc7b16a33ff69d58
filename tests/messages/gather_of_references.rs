//! References to promises and tasks whose results cannot be cloned.
//~ cannot become a task: it is no future that is `'static`, and no task or promise whose result can be read
//~ the result of a `&Task<T>` or a `&Promise<T>` is cloned, so `T` has to be `Clone`; otherwise pass the task or the promise by value, or use an `Rc` as `T`

use onelane::{Promise, gather, spawn};
use std::rc::Rc;

struct Parcel;

fn main() {
    onelane::run(async {
        let shared = Promise::<Rc<Parcel>>::new();
        _ = gather([&shared]).await;
        _ = gather([Promise::<Parcel>::new()]).await;
        let (promise, task) = (Promise::<Parcel>::new(), spawn(async { Parcel }));
        _ = gather([&promise]).await;
        _ = gather([&task]).await;
    });
}
