"""AWS Signature Version 4 and a small S3 client over http.client, written from the specification.

The suites need a client that can also say wrong things: so every piece (canonical request, key, chunk signatures) is a
function that a test may call with a lie. https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""
import datetime
import hashlib
import hmac
import http.client
import ssl
import urllib.parse

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
REGION = "us-east-1"


def quote(text, safe="-_.~"):
    """S3's URI encoding: upper-case hex, only the unreserved characters stay."""
    return urllib.parse.quote(text, safe=safe)


def key_path(bucket, key=None):
    """The raw path of an object; '/' of the key stays as it is, nothing is normalised."""
    return f"/{bucket}" if key is None else f"/{bucket}/" + quote(key, safe="-_.~/")


def canonical_query(pairs):
    return "&".join(f"{k}={v}" for k, v in sorted((quote(k), quote(v)) for k, v in pairs))


def hmac256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(secret, date, region=REGION, service="s3"):
    key = hmac256(("AWS4" + secret).encode(), date)
    for part in (region, service, "aws4_request"):
        key = hmac256(key, part)
    return key


def amz_now(offset_s=0):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset_s)
    return now.strftime("%Y%m%dT%H%M%SZ")


def canonical_request(method, path, query, headers, signed, payload):
    lines = [method, path, canonical_query(query)]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in signed]
    return "\n".join(lines + ["", ";".join(signed), payload])


def string_to_sign(amz_date, scope, canonical):
    return "\n".join(["AWS4-HMAC-SHA256", amz_date, scope, hashlib.sha256(canonical.encode()).hexdigest()])


def sign(creds, method, host, path, query=(), headers=None, payload=UNSIGNED, amz_date=None, leave_unsigned=(),
         region=REGION):
    """Returns the headers to send, and the signature (the seed of a chunked upload's chain)."""
    amz_date = amz_date or amz_now()
    all_headers = {k.lower(): v for k, v in (headers or {}).items()}
    all_headers.update({"host": host, "x-amz-date": amz_date, "x-amz-content-sha256": payload})
    signed = sorted(name for name in all_headers
                    if name not in leave_unsigned and
                    (name in ("host", "content-md5", "content-type") or name.startswith("x-amz-")))
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    canonical = canonical_request(method, path, list(query), all_headers, signed, payload)
    signature = hmac.new(signing_key(creds[1], amz_date[:8], region), string_to_sign(amz_date, scope, canonical).encode(),
                         hashlib.sha256).hexdigest()
    all_headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={creds[0]}/{scope},"
                                    f"SignedHeaders={';'.join(signed)},Signature={signature}")
    return all_headers, signature


def presign(creds, method, host, path, query=(), expires_s=900, amz_date=None, region=REGION):
    """The path and query of a presigned request, without scheme and host."""
    amz_date = amz_date or amz_now()
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    pairs = list(query) + [("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", f"{creds[0]}/{scope}"),
                           ("X-Amz-Date", amz_date), ("X-Amz-Expires", str(expires_s)),
                           ("X-Amz-SignedHeaders", "host")]
    canonical = canonical_request(method, path, pairs, {"host": host}, ["host"], UNSIGNED)
    signature = hmac.new(signing_key(creds[1], amz_date[:8], region), string_to_sign(amz_date, scope, canonical).encode(),
                         hashlib.sha256).hexdigest()
    return f"{path}?{canonical_query(pairs)}&X-Amz-Signature={signature}"


class ChunkSigner:
    """The chain of chunk signatures of STREAMING-AWS4-HMAC-SHA256-PAYLOAD(-TRAILER)."""

    def __init__(self, creds, amz_date, seed, region=REGION):
        self.key = signing_key(creds[1], amz_date[:8], region)
        self.prefix = [amz_date, f"{amz_date[:8]}/{region}/s3/aws4_request"]
        self.previous = seed

    def _sign(self, algorithm, *tail):
        text = "\n".join([algorithm, *self.prefix, self.previous, *tail])
        self.previous = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        return self.previous

    def chunk(self, data):
        signature = self._sign("AWS4-HMAC-SHA256-PAYLOAD", EMPTY_SHA256, hashlib.sha256(data).hexdigest())
        return f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + b"\r\n"

    def trailer(self, lines):
        """The lines of a signed trailer, after a last chunk written without its closing CRLF."""
        digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
        signature = self._sign("AWS4-HMAC-SHA256-TRAILER", digest)
        return "".join(f"{line}\r\n" for line in lines).encode() + \
            f"x-amz-trailer-signature:{signature}\r\n\r\n".encode()


class Response:
    """Status, lower-case headers, body; `code` is the S3 error code when there is one."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        if b"<Code>" not in self.body:
            return ""
        return self.body.split(b"<Code>", 1)[1].split(b"</Code>", 1)[0].decode()

    def __repr__(self):
        return f"{self.status} {self.code or self.body[:120]!r}"


class Client:
    """One keep-alive connection, signed requests. Not for several threads at once."""

    def __init__(self, endpoint, creds, timeout_s=60, ca=None):
        """ca: a file of certificates to trust; None: plain HTTP."""
        self.host, self.creds, self.timeout_s = endpoint, creds, timeout_s
        self.tls = ssl.create_default_context(cafile=ca) if ca else None
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def raw(self, method, target, headers, body=b""):
        """Sends what it is given; any failure of the connection is the caller's to see."""
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.host, timeout=self.timeout_s, context=self.tls) \
                if self.tls else http.client.HTTPConnection(self.host, timeout=self.timeout_s)
        try:
            self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                self.connection.putheader(name, value)
            self.connection.endheaders(body if body else None)
            answer = self.connection.getresponse()
            data = answer.read()
            if answer.will_close:
                self.close()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)
        except Exception:
            self.close()
            raise

    def request(self, method, path, query=(), headers=None, body=b"", payload=None, **sign_options):
        """A signed request. payload: None takes the body's SHA-256."""
        payload = payload or hashlib.sha256(body).hexdigest()
        signed, _ = sign(self.creds, method, self.host, path, query, headers, payload, **sign_options)
        if body or method in ("PUT", "POST"):
            signed.setdefault("content-length", str(len(body)))
        target = path + ("?" + canonical_query(query) if query else "")
        return self.raw(method, target, signed, body)

    def put(self, bucket, key, body, **options):
        return self.request("PUT", key_path(bucket, key), body=body, **options)

    def get(self, bucket, key, **options):
        return self.request("GET", key_path(bucket, key), **options)

    def delete(self, bucket, key, **options):
        return self.request("DELETE", key_path(bucket, key), **options)

    def make_bucket(self, bucket):
        return self.request("PUT", key_path(bucket))

    def list_keys(self, bucket, prefix=""):
        """Every key, by ListObjectsV2's pages."""
        import xml.etree.ElementTree as tree
        space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        keys, token = [], None
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
            if token:
                query.append(("continuation-token", token))
            answer = self.request("GET", key_path(bucket), query)
            if answer.status != 200:
                raise RuntimeError(f"listing {bucket}: {answer}")
            root = tree.fromstring(answer.body)
            keys += [urllib.parse.unquote_plus(node.findtext(space + "Key")) for node in root.iter(space + "Contents")]
            token = root.findtext(space + "NextContinuationToken")
            if root.findtext(space + "IsTruncated") != "true":
                return keys
