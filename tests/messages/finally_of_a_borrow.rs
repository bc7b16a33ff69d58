//! A `finally` that borrows a local variable.
//~ 1.95 share by an `Rc`, do not borrow

use onelane::finally;
use std::rc::Rc;

struct App;

impl App {
    async fn work(&self) {}

    async fn close(self: Rc<Self>) {}
}

fn main() {
    onelane::run(async {
        let shared = Rc::new(App);
        let copy = shared.clone();
        finally(async move { copy.work().await }, shared.close()).await;
        let app = App;
        finally(app.work(), async {}).await;
    });
}
