//! The service. It knows nothing of sockets.

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use onelane::sleep;
use std::time::Duration;

/// Text, or the data of the request.
pub type Body = Either<Full<Bytes>, Incoming>;

pub async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match *segments {
        [""] if is_read => text(StatusCode::OK, "Hello from one lane.\n"),
        // Sent back as it arrives; a slow reader slows the writer down.
        ["echo"] if request.method() == Method::POST => Response::new(Either::Right(request.into_body())),
        ["delay", milliseconds] if is_read => match milliseconds.parse() {
            Ok(milliseconds) => {
                sleep(Duration::from_millis(milliseconds)).await;
                text(StatusCode::OK, format!("{milliseconds} ms later\n"))
            }
            Err(_) => text(StatusCode::BAD_REQUEST, "/delay/MS: MS is a number of milliseconds\n"),
        },
        ["item", number] if is_read => match number.parse::<u32>() {
            Ok(number) => item(number),
            Err(_) => text(StatusCode::BAD_REQUEST, "/item/N: N is a number below four billion\n"),
        },
        ["echo"] => not_allowed("POST"),
        [""] | ["delay" | "item", _] => not_allowed("GET, HEAD"),
        _ => text(StatusCode::NOT_FOUND, "try /, /echo, /delay/MS or /item/N\n"),
    }
}

fn item(number: u32) -> Response<Body> {
    let square = u64::from(number).pow(2);
    let mut response = text(StatusCode::OK, format!("{{\"item\":{number},\"square\":{square}}}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("the methods here are {methods}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
