//! A genuine S3 protocol server on a loopback port, and the faults of a network and of a busy service in front of it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;

pub(crate) const BUCKET: &str = "blocks";
const ACCESS_KEY: &str = "trilobite";
const SECRET_KEY: &str = "a secret of no worth";

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answered 500; nothing was done.
    Broken,
    /// Answered 503 SlowDown; nothing was done.
    SlowDown,
    /// Answered rightly, after this long.
    Slow(Duration),
    /// Never answered.
    Hanging,
    /// The answer's body breaks off in its middle.
    CutBody,
    /// The answer's body is half as long, and its header says that this is all.
    ShortBody,
    /// One bit of the answer's body is another one.
    FlippedBit,
    /// The connection breaks before an answer.
    Reset,
    /// What was asked is done, and answered with 500.
    DoneBut500,
    /// What was asked is done, and the connection breaks.
    DoneButReset,
}

/// Which requests meet a fault, and how many of them.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) fault: Fault,
    /// `None` for all methods.
    pub(crate) method: Option<Method>,
    /// What the path ends with.
    pub(crate) suffix: &'static str,
    pub(crate) times: usize,
}

/// A request that was answered with success, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// The key, without the bucket's name; for a removal of several the list of them.
    pub(crate) key: String,
    /// Whether it was to succeed only where nothing was before.
    pub(crate) if_absent: bool,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    met: usize,
    seen: Vec<Seen>,
}

/// The server. Its objects are files below [`S3::folder`].
pub(crate) struct S3 {
    root: tempfile::TempDir,
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
    task: Option<tokio::task::JoinHandle<()>>,
    service: S3Service,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut s3 = Self {
            root,
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            task: None,
            service: builder.build(),
        };
        s3.serve(listener);
        s3
    }

    fn serve(&mut self, listener: TcpListener) {
        let (service, state) = (self.service.clone(), Arc::clone(&self.state));
        self.task = Some(tokio::spawn(async move {
            // Connections end with the task, as they do with a machine.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    return;
                };
                let (service, state) = (service.clone(), Arc::clone(&state));
                connections.spawn(async move {
                    let handle = hyper::service::service_fn(move |request| {
                        handle(service.clone(), Arc::clone(&state), request)
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(socket), handle).await;
                });
            }
        }));
    }

    /// Takes the server off the network.
    pub(crate) async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Brings it back to the same port.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    /// The environment that a client needs.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            // So that a hanging request does not take the half minute that it may by default.
            ("AWS_TIMEOUT", "2s".to_owned()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into()
    }

    /// The objects as files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// The keys of all objects, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        files_below(&self.folder(), &mut |path| {
            let key = path.strip_prefix(self.folder()).unwrap();
            keys.push(key.to_string_lossy().into_owned());
        });
        keys.sort();
        keys
    }

    /// Lets requests go wrong from now on.
    pub(crate) fn inject(&self, rules: &[Rule]) {
        self.state.lock().unwrap().rules = rules.to_vec();
    }

    /// How many requests met a fault so far.
    pub(crate) fn met(&self) -> usize {
        self.state.lock().unwrap().met
    }

    /// What was done so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Calls back for each file below a folder.
pub(crate) fn files_below(dir: &Path, each: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files_below(&path, each);
        } else {
            each(&path);
        }
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

fn broken_connection() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "injected")
}

fn fault_for(state: &Mutex<State>, method: &Method, path: &str) -> Option<Fault> {
    let mut state = state.lock().unwrap();
    let rule = state.rules.iter_mut().find(|rule| {
        rule.times > 0
            && path.ends_with(rule.suffix)
            && rule.method.as_ref().is_none_or(|m| m == method)
    })?;
    rule.times -= 1;
    let fault = rule.fault;
    state.met += 1;
    Some(fault)
}

async fn handle(
    service: S3Service,
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Answer, std::io::Error> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // The server behind would make a bucket of any name that something is put into.
    if path.split('/').nth(1) != Some(BUCKET) {
        return Ok(refusal(StatusCode::NOT_FOUND, "NoSuchBucket"));
    }
    let fault = fault_for(&state, &method, &path);
    match fault {
        Some(Fault::Broken) => {
            return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"));
        }
        Some(Fault::SlowDown) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
        Some(Fault::Hanging) => std::future::pending().await,
        Some(Fault::Reset) => return Err(broken_connection()),
        _ => {}
    }
    let answer = forward(service, &state, request).await?;
    match fault {
        Some(Fault::DoneBut500) => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::DoneButReset) => Err(broken_connection()),
        Some(fault @ (Fault::CutBody | Fault::ShortBody | Fault::FlippedBit)) => {
            Ok(spoil(fault, answer))
        }
        _ => Ok(answer.map(|body| Full::new(body).map_err(never).boxed())),
    }
}

fn never(e: Infallible) -> std::io::Error {
    match e {}
}

/// Lets the S3 server answer, and notes what it did.
async fn forward(
    service: S3Service,
    state: &Mutex<State>,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let method = parts.method.clone();
    let key = parts.uri.path().trim_start_matches('/').to_owned();
    let mut key = key
        .strip_prefix(BUCKET)
        .unwrap_or(&key)
        .trim_start_matches('/')
        .to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let removes_several = method == Method::POST && query.starts_with("delete");
    if removes_several {
        key = String::from_utf8_lossy(&body).into_owned();
    }
    let if_absent = parts.headers.contains_key(header::IF_NONE_MATCH);
    let request = Request::from_parts(parts, s3s::Body::from(body));
    let answer = service
        .call(request)
        .await
        .map_err(|e| std::io::Error::other(format!("{e:?}")))?;
    let (parts, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|e| std::io::Error::other(e.to_string()))?
        .to_bytes();
    if parts.status.is_success() {
        let mut state = state.lock().unwrap();
        if removes_several {
            for part in key.split("<Key>").skip(1) {
                state.seen.push(Seen {
                    method: Method::DELETE,
                    key: part.split("</Key>").next().unwrap().to_owned(),
                    if_absent,
                });
            }
        } else {
            state.seen.push(Seen {
                method,
                key,
                if_absent,
            });
        }
    }
    Ok(Response::from_parts(parts, body))
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>"
    );
    let body = Full::new(Bytes::from(body)).map_err(never).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

fn spoil(fault: Fault, answer: Response<Bytes>) -> Answer {
    let (mut parts, body) = answer.into_parts();
    let half = body.slice(..body.len() / 2);
    let body = match fault {
        Fault::ShortBody => {
            let length = HeaderValue::from(half.len());
            parts.headers.insert(header::CONTENT_LENGTH, length);
            Full::new(half).map_err(never).boxed()
        }
        Fault::FlippedBit => {
            let mut bytes = body.to_vec();
            if let Some(byte) = bytes.get_mut(half.len()) {
                *byte ^= 1;
            }
            Full::new(Bytes::from(bytes)).map_err(never).boxed()
        }
        _ => {
            let length = HeaderValue::from(body.len());
            parts.headers.insert(header::CONTENT_LENGTH, length);
            let frames = [Ok(Frame::data(half)), Err(broken_connection())];
            BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
        }
    };
    Response::from_parts(parts, body)
}
