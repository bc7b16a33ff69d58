//! A cache that checks, and then acts: two tasks may load the same page.

use onelane::explore::Explore;
use onelane::{Promise, explore, task, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Default)]
struct Server {
    loads: Cell<u32>,
}

impl Server {
    async fn load(&self, page: &'static str) -> String {
        self.loads.set(self.loads.get() + 1);
        yield_now().await;
        format!("<h1>{page}</h1>")
    }
}

#[derive(Default)]
struct Cache {
    server: Server,
    pages: RefCell<HashMap<&'static str, String>>,
}

impl Cache {
    async fn get(&self, page: &'static str) -> String {
        if let Some(text) = self.pages.borrow().get(page) {
            return text.clone();
        }
        let text = self.server.load(page).await;
        self.pages.borrow_mut().insert(page, text.clone());
        text
    }
}

pub(crate) fn broken() -> Explore<'static> {
    explore(|| async {
        let cache = Rc::new(Cache::default());
        let copy = cache.clone();
        let reader = task::Builder::new().name("reader").spawn(async move { copy.get("tea").await });
        let copy = cache.clone();
        let crawler = task::Builder::new().name("crawler").spawn(async move {
            yield_now().await; // reads its list of pages
            copy.get("tea").await
        });
        assert_eq!(reader.await.unwrap(), crawler.await.unwrap());
        assert_eq!(cache.server.loads.get(), 1, "a page was loaded twice");
    })
}

/// The first who asks leaves a promise, before it awaits anything.
#[derive(Default)]
struct MendedCache {
    server: Server,
    pages: RefCell<HashMap<&'static str, Rc<Promise<String>>>>,
}

impl MendedCache {
    async fn get(&self, page: &'static str) -> String {
        let known = self.pages.borrow().get(page).cloned();
        if let Some(promise) = known {
            return (&*promise).await.expect("nobody cancels it");
        }
        let promise = Rc::new(Promise::new());
        self.pages.borrow_mut().insert(page, promise.clone());
        let text = self.server.load(page).await;
        promise.set_result(text.clone()).expect("it is set here alone");
        text
    }
}

pub(crate) fn mended() -> Explore<'static> {
    explore(|| async {
        let cache = Rc::new(MendedCache::default());
        let copy = cache.clone();
        let reader = task::Builder::new().name("reader").spawn(async move { copy.get("tea").await });
        let copy = cache.clone();
        let crawler = task::Builder::new().name("crawler").spawn(async move {
            yield_now().await;
            copy.get("tea").await
        });
        assert_eq!(reader.await.unwrap(), crawler.await.unwrap());
        assert_eq!(cache.server.loads.get(), 1, "a page was loaded twice");
    })
}
