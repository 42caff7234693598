//! What a listener answers while the storage is being opened: it is alive, not ready, and how far the replay of the
//! write-ahead log is. From the moment on in which the routes are there, requests go to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::json;
use storage::ReplayProgress;
use tower::ServiceExt;

/// What all listeners wait for together: none lets requests through before the others do, so that whoever was told by one
/// that the server is ready finds the others ready too.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    is_over: Arc<AtomicBool>,
    progress: Arc<ReplayProgress>,
}

impl Opening {
    /// One that is not over yet.
    pub(crate) fn new(progress: Arc<ReplayProgress>) -> Self {
        Self {
            is_over: Arc::default(),
            progress,
        }
    }

    /// The door of a listener.
    pub(crate) fn door(&self) -> Door {
        Door {
            routes: Arc::default(),
            opening: self.clone(),
        }
    }

    /// Lets requests through at all doors, which have their routes by now.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// The routes of a listener, once there are any.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    routes: Arc<OnceLock<Router>>,
    opening: Opening,
}

impl Door {
    /// Takes the routes that requests go to when the opening is over.
    pub(crate) fn furnish(&self, routes: Router) {
        // Done once: a second call would find the routes of the first in use.
        let _ = self.routes.set(routes);
    }

    /// What the listener serves from the start.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }
}

async fn answer(State(door): State<Door>, request: Request) -> Response {
    let routes = door.routes.get();
    let is_over = door.opening.is_over.load(Ordering::Acquire);
    match routes.filter(|_| is_over) {
        Some(routes) => match routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => starting(request.uri().path(), &door.opening.progress),
    }
}

/// Whatever prefix the paths have.
fn starting(path: &str, progress: &ReplayProgress) -> Response {
    match path {
        path if path.ends_with("/-/healthy") => "Prometheus Server is Healthy.\n".into_response(),
        path if path.ends_with("/api/v1/status/walreplay") => {
            let (done, total) = progress.segments();
            let state = if total == 0 { "waiting" } else { "in progress" };
            let headers = [(CONTENT_TYPE, "application/json")];
            let body = json!({
                "status": "success",
                "data": {"min": 0, "max": total, "current": done, "state": state},
            });
            (headers, body.to_string()).into_response()
        }
        _ => {
            let headers = [
                (CONTENT_TYPE, "text/plain; charset=utf-8"),
                (RETRY_AFTER, "1"),
            ];
            (
                StatusCode::SERVICE_UNAVAILABLE,
                headers,
                "Service Unavailable",
            )
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_door_answers_that_it_is_not_open_until_all_are() {
        let opening = Opening::new(Arc::default());
        let (door, other) = (opening.door(), opening.door().router());
        let router = door.clone().router();
        assert_eq!(
            ask(&router, "/api/v1/query").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(ask(&router, "/-/healthy").await.0, StatusCode::OK);
        assert_eq!(ask(&router, "/prom/-/healthy").await.0, StatusCode::OK);
        let (_, body) = ask(&router, "/api/v1/status/walreplay").await;
        assert!(body.contains(r#""state":"waiting""#), "{body}");
        door.furnish(Router::new().route("/api/v1/query", get(async || "yes")));
        assert_eq!(
            ask(&router, "/api/v1/query").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        opening.end();
        assert_eq!(ask(&router, "/api/v1/query").await.1, "yes");
        assert_eq!(ask(&router, "/-/healthy").await.0, StatusCode::NOT_FOUND);
        // Without routes there is nothing to let through to.
        let (status, _) = ask(&other, "/api/v1/query").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
