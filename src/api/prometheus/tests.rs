//! The router called without a port: statuses, shapes of errors, headers; whole answers are judged by recordings.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use storage::model::{NO_START_MS, Tenant};
use tower::ServiceExt;

use crate::app::{AppState, testing};
use crate::ingest::remote_write::append_written;
use crate::wire::remote_write::Writer;

pub(super) async fn app(folder: &std::path::Path, args: &[&str]) -> AppState {
    let app = testing::open(folder, args).await;
    let mut writer = Writer::default();
    for (job, value) in [("a", 1.0), ("b", 2.0)] {
        writer.series([("__name__", "up"), ("job", job)]);
        writer.float(1_793_491_200_000, value, NO_START_MS);
    }
    append_written(&app, &Tenant::anonymous(), &writer.finish())
        .await
        .unwrap();
    app
}

async fn ask(app: &AppState, request: Request<Body>) -> (StatusCode, http::HeaderMap, String) {
    let response = super::router(&app.config)
        .with_state(Arc::clone(app))
        .oneshot(request)
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status,
        parts.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

fn request(method: Method, uri: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .unwrap()
}

fn form(uri: &str, body: &'static str) -> Request<Body> {
    Request::post(uri)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_answered_by_url_and_by_form() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    let expected = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"b"},"value":[1793491260.500,"2"]}]}}"#;
    let uri = "/api/v1/query?query=up%3E1&time=1793491260.5";
    assert_eq!(ask(&app, request(Method::GET, uri)).await.2, expected);
    let mixed = form("/api/v1/query?time=1793491260.5&query=down", "query=up%3E1");
    assert_eq!(ask(&app, mixed).await.2, expected);
    let range = "/api/v1/query_range?query=sum(up)&start=1793491200&end=1793491260&step=60";
    assert_eq!(
        ask(&app, request(Method::GET, range)).await.2,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1793491200,"3"],[1793491260,"3"]]}]}}"#
    );
    let mut shouted = form("/api/v1/query?time=1793491260.5", "query=up%3E1");
    let media_type = "APPLICATION/x-www-form-urlencoded; charset=utf-8";
    shouted
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type.parse().unwrap());
    assert_eq!(ask(&app, shouted).await.2, expected);
    let odd = "/api/v1/query?query=up&time=1793491200&stats=some";
    let (_, _, body) = ask(&app, request(Method::GET, odd)).await;
    assert!(
        body.contains(r#""warnings":["value \"some\" for parameter"#),
        "{body}"
    );
    let cut = "/api/v1/query?query=up&time=1793491200&limit=1";
    let (_, _, body) = ask(&app, request(Method::GET, cut)).await;
    assert!(
        body.ends_with(r#"]},"warnings":["results truncated due to limit"]}"#),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn series_labels_and_values_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    for (uri, data) in [
        (
            "/api/v1/series?match[]=up&limit=1",
            r#"[{"__name__":"up","job":"a"}]"#,
        ),
        ("/api/v1/labels", r#"["__name__","job"]"#),
        ("/api/v1/label/job/values", r#"["a","b"]"#),
        (
            "/api/v1/label/U__job/values?match[]=up%7Bjob%3D%22b%22%7D",
            r#"["b"]"#,
        ),
        ("/api/v1/label/job/values?end=1", "[]"),
    ] {
        let (status, headers, body) = ask(&app, request(Method::GET, uri)).await;
        assert_eq!(status, StatusCode::OK, "{uri}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        assert!(
            body.starts_with(&format!("{{\"status\":\"success\",\"data\":{data}")),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_as_upstream_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    for (method, uri, status, text) in [
        (
            Method::GET,
            "/api/v1/query?query=up+%2B",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unexpected end of input"}"#,
        ),
        (
            Method::GET,
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            400,
            "end timestamp must not be before start time",
        ),
        (
            Method::GET,
            "/api/v1/query_range?query=up&start=1&end=2&step=1e-5",
            400,
            "exceeded maximum resolution of 11,000 points",
        ),
        (
            Method::GET,
            "/api/v1/query?query=topk(NaN,up)&time=1793491200",
            422,
            r#""errorType":"execution""#,
        ),
        (
            Method::GET,
            "/api/v1/query?query=up&timeout=0s",
            503,
            r#""errorType":"timeout""#,
        ),
        (
            Method::GET,
            "/api/v1/query?query=limitk(1,up)",
            400,
            "must be enabled",
        ),
        (
            Method::GET,
            "/api/v1/series",
            400,
            "no match[] parameter provided",
        ),
        (
            Method::GET,
            "/api/v1/labels?limit=99999999999999999999",
            400,
            "value out of range",
        ),
        (
            Method::GET,
            "/api/v1/label/%ff/values",
            400,
            "invalid label name",
        ),
        (
            Method::GET,
            "/api/v1/label//values",
            404,
            "404 page not found",
        ),
        (
            Method::POST,
            "/api/v1/admin/tsdb/snapshot",
            500,
            r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#,
        ),
        (
            Method::POST,
            "/api/v1/admin/tsdb/delete_series",
            500,
            "admin APIs disabled",
        ),
        (
            Method::PUT,
            "/api/v1/admin/tsdb/clean_tombstones",
            500,
            "admin APIs disabled",
        ),
        (
            Method::POST,
            "/-/reload",
            403,
            "Lifecycle API is not enabled.",
        ),
        (Method::POST, "/-/flush", 403, "Admin API is not enabled"),
        (Method::PUT, "/api/v1/query", 405, ""),
        (Method::POST, "/api/v1/metadata", 405, ""),
    ] {
        let (found, _, body) = ask(&app, request(method, uri)).await;
        assert_eq!(found.as_u16(), status, "{uri}: {body}");
        assert!(body.contains(text), "{uri}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    let mut preflight = request(Method::OPTIONS, "/api/v1/query");
    preflight
        .headers_mut()
        .insert(header::ORIGIN, "http://a.example".parse().unwrap());
    let (status, headers, _) = ask(&app, preflight).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(
        headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "http://a.example"
    );
    assert_eq!(
        headers[header::ACCESS_CONTROL_ALLOW_METHODS],
        "GET, POST, OPTIONS"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_origins_that_match_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &["--web.cors.origin=https?://(a|b)"]).await;
    for (origin, may) in [
        ("http://a", true),
        ("https://b", true),
        ("http://a.c", false),
    ] {
        let mut asked = request(Method::GET, "/api/v1/labels");
        let value = origin.parse().unwrap();
        asked.headers_mut().insert(header::ORIGIN, value);
        let (_, headers, _) = ask(&app, asked).await;
        let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed.is_some(), may, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_served_under_its_prefix() {
    for (flags, prefix) in [
        (&["--web.external-url=http://h/prom/"][..], "/prom"),
        (
            &[
                "--web.external-url=http://h/prom",
                "--web.route-prefix=/a/b/",
            ],
            "/a/b",
        ),
        (
            &["--web.external-url=http://h/prom", "--web.route-prefix=/"],
            "",
        ),
        (&[], ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let app = app(folder.path(), flags).await;
        let routes = crate::server::web_router(&app);
        for (path, served) in [
            (format!("{prefix}/api/v1/labels"), true),
            (format!("{prefix}/-/healthy"), true),
            ("/loki/api/v1/status/buildinfo".to_owned(), true),
            (format!("{prefix}/other"), false),
            ("/api/v1/labels".to_owned(), prefix.is_empty()),
        ] {
            let answered = routes.clone().oneshot(request(Method::GET, &path)).await;
            let status = answered.unwrap().status();
            assert_eq!(
                status == StatusCode::OK,
                served,
                "{flags:?} {path}: {status}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heads_are_flushed_where_the_admin_api_is_on() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &["--web.enable-admin-api"]).await;
    let (status, _, body) = ask(&app, request(Method::POST, "/-/flush")).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    let uri = "/api/v1/query?query=count(up)&time=1793491200";
    let (_, _, body) = ask(&app, request(Method::GET, uri)).await;
    assert!(body.contains(r#""value":[1793491200,"2"]"#), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_deleted_as_upstream_deletes_them() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &["--web.enable-admin-api"]).await;
    let path = "/api/v1/admin/tsdb/delete_series";
    // Answers of Prometheus 3.14.
    for (query, text) in [
        ("", "no match[] parameter provided"),
        (
            "match[]=",
            r#"invalid parameter \"match[]\": unknown position: parse error: unexpected end of input"#,
        ),
        (
            "match[]=bad%7B",
            r#"invalid parameter \"match[]\": 1:5: parse error: unexpected end of input inside braces"#,
        ),
        (
            "match[]=up&match[]=up[5m]",
            r#"invalid parameter \"match[]\": 1:3: parse error: unexpected \"[\""#,
        ),
        (
            "match[]=up&start=abc",
            r#"invalid parameter \"start\": invalid time value for 'start': cannot parse \"abc\" to a valid timestamp"#,
        ),
        (
            "match[]=bad%7B&end=abc",
            r#"invalid parameter \"end\": invalid time value for 'end': cannot parse \"abc\" to a valid timestamp"#,
        ),
    ] {
        let (status, _, body) = ask(&app, request(Method::POST, &format!("{path}?{query}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        let expected = format!(r#"{{"status":"error","errorType":"bad_data","error":"{text}"}}"#);
        assert_eq!(body, expected, "{query}");
    }
    let uri = "/api/v1/query?query=up&time=1793491200";
    for (left, how) in [
        (
            "ab",
            request(Method::PUT, &format!("{path}?match[]=nosuch")),
        ),
        (
            "ab",
            request(Method::POST, &format!("{path}?match[]=up&start=20&end=10")),
        ),
        ("ab", form(path, "match[]=up&end=1793491199.999")),
        (
            "b",
            form(path, "match[]=down&match[]=up%7Bjob%3D%22a%22%7D"),
        ),
        ("", request(Method::PUT, &format!("{path}?match[]=%7B%7D"))),
        (
            "",
            request(Method::PUT, "/api/v1/admin/tsdb/clean_tombstones"),
        ),
    ] {
        let (status, _, body) = ask(&app, how).await;
        assert_eq!((status, &*body), (StatusCode::NO_CONTENT, ""));
        let (_, _, body) = ask(&app, request(Method::GET, uri)).await;
        for job in ["a", "b"] {
            let found = body.contains(&format!(r#""job":"{job}""#));
            assert_eq!(found, left.contains(job), "{job} in {body}");
        }
    }
    for path in ["delete_series", "clean_tombstones", "snapshot"] {
        let uri = format!("/api/v1/admin/tsdb/{path}?match[]=up");
        let (status, _, _) = ask(&app, request(Method::GET, &uri)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_started_from_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &["--web.enable-admin-api"]).await;
    let path = "/api/v1/admin/tsdb/snapshot";
    let (status, _, body) = ask(
        &app,
        request(Method::POST, &format!("{path}?skip_head=abc")),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // The answer of Prometheus 3.14.
    assert_eq!(
        body,
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"abc\": invalid syntax"}"#
    );
    let mut names = Vec::new();
    for request in [
        form(path, "skip_head=true"),
        request(Method::PUT, path),
        request(Method::POST, &format!("{path}?skip_head=")),
    ] {
        let (status, headers, body) = ask(&app, request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success");
        let name = answer["data"]["name"].as_str().unwrap().to_owned();
        let (time, random) = name.split_once('-').unwrap();
        assert!(
            time.len() == 16 && time.contains('T') && time.ends_with('Z'),
            "{name}"
        );
        assert!(u64::from_str_radix(random, 16).is_ok(), "{name}");
        names.push(name);
    }
    for (name, jobs) in names.iter().zip([0, 2, 2]) {
        let path = folder.path().join("snapshots").join(name);
        let restored = testing::open(&path, &[]).await;
        let uri = "/api/v1/query?query=up&time=1793491200";
        let (_, _, body) = ask(&restored, request(Method::GET, uri)).await;
        assert_eq!(body.matches(r#""job":"#).count(), jobs, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_required_and_kept_apart_with_multitenancy() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &["--multitenancy"]).await;
    let uri = "/api/v1/query?query=up&time=1793491200";
    assert_eq!(
        ask(&app, request(Method::GET, uri)).await.0,
        StatusCode::BAD_REQUEST
    );
    let mut other = request(Method::GET, uri);
    other
        .headers_mut()
        .insert("X-Scope-OrgID", "team-b".parse().unwrap());
    assert!(ask(&app, other).await.2.contains(r#""result":[]"#));
}
