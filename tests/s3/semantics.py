#!/usr/bin/env python3
"""What the suites that S3 servers are held against (ceph s3-tests, MinIO mint) ask for and the SDKs hide: raw requests, raw answers.

Expectations are AWS's documented behaviour, and that of those suites where the documentation is silent.
"""
import base64
import hashlib
import os
import re
import sys
import urllib.parse
import xml.etree.ElementTree as tree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded  # noqa: E402
from node import Node  # noqa: E402
import sigv4  # noqa: E402

BUCKET, SPACE = "semantics", "{http://s3.amazonaws.com/doc/2006-03-01/}"
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
ONE_PART = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>"


def element(answer, name):
    found = re.search(rf"<{name}>(.*?)</{name}>".encode(), answer.body, re.S)
    return found[1].decode() if found else None


def expect(text, answer, status, code="", **elements):
    """One check: status, error code, and elements of the document."""
    got = {name: element(answer, name) for name in elements}
    return check((answer.status, answer.code) == (status, code) and got == elements, text,
                 f"expected {status} {code} {elements}\ngot      {answer.status} {answer.code} {got}\n{answer.headers}\n{answer.body[:600]!r}")


def path(key=None):
    return sigv4.key_path(BUCKET, key)


def texts(answer, *names):
    """The text of every element at that path, under the root."""
    return [node.text or "" for node in tree.fromstring(answer.body).findall("/".join(SPACE + name for name in names))]


# ---- listings ----

def listings(client):
    keys = ["asdf+b", "foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "_bla/1", "_bla/2", "b%r", "b%z", "b.d", "c\nd", "x y"]
    for key in keys:
        client.put(BUCKET, key, b"1")

    def listed(v2=False, **query):
        pairs = [(name.replace("_", "-"), value) for name, value in query.items()] + ([("list-type", "2")] if v2 else [])
        return client.request("GET", path(), pairs)

    def names(answer, decode=lambda text: text):
        return ([decode(text) for text in texts(answer, "Contents", "Key")], [decode(text) for text in texts(answer, "CommonPrefixes", "Prefix")])
    ordered = sorted(keys, key=str.encode)
    answer = listed(delimiter="/", encoding_type="url")
    check(b"<Key>asdf%2Bb</Key>" in answer.body and b"<Prefix>foo%2B1/</Prefix>" in answer.body, "encoding-type=url codes names", answer.body[:900])
    equal(names(answer, urllib.parse.unquote_plus), (["asdf+b", "b%r", "b%z", "b.d", "c\nd", "x y"], ["_bla/", "foo+1/", "foo/", "quux ab/"]),
          "and they decode to what was stored")
    for version in (False, True):
        v = "V2" if version else "V1"
        for delimiter, wanted in (("%", ["b%"]), (" ", ["quux ", "x "]), (".", ["b."]), ("\n", ["c\n"]), ("none", [])):
            got = names(listed(version, delimiter=delimiter, encoding_type="url"), urllib.parse.unquote_plus)
            rest = [key for key in ordered if delimiter not in key]
            equal(got, (rest, wanted), f"{v}: the delimiter {delimiter!r}")
        answer = listed(version, delimiter="")
        equal((names(answer), element(answer, "Delimiter")), ((ordered, []), None), f"{v}: an empty delimiter is none")
        answer = listed(version, prefix="")
        equal((names(answer)[0], texts(answer, "Prefix")), (ordered, [""]), f"{v}: an empty prefix is none")
        equal(names(listed(version, prefix="_bla/"))[0], ["_bla/1", "_bla/2"], f"{v}: a prefix that begins with an underscore")
        equal(names(listed(version, prefix="c\n"))[0], ["c\nd"], f"{v}: a prefix that cannot be read")
        equal(names(listed(version, prefix="foo", delimiter="/"))[1], ["foo+1/", "foo/"], f"{v}: prefix and delimiter")
        expect(f"{v}: max-keys=blah", listed(version, max_keys="blah"), 400, "InvalidArgument")
        expect(f"{v}: max-keys=-1", listed(version, max_keys="-1"), 400, "InvalidArgument")
        expect(f"{v}: max-keys=0", listed(version, max_keys="0"), 200, MaxKeys="0", IsTruncated="false")
        expect(f"{v}: max-keys=5000 is 1000", listed(version, max_keys="5000"), 200, MaxKeys="1000")
        expect(f"{v}: max-keys without a value", listed(version, max_keys=""), 200, MaxKeys="1000")
        expect(f"{v}: encoding-type=base64", listed(version, encoding_type="base64"), 400, "InvalidArgument")
        expect(f"{v}: exactly as many as there are is all", listed(version, max_keys=str(len(keys))), 200, IsTruncated="false")
    answer = listed(marker="zzz")
    equal((names(answer), element(answer, "Marker")), (([], []), "zzz"), "V1: a marker behind everything")
    equal(names(listed(marker="b%rr"))[0], ordered[ordered.index("b%z"):], "V1: a marker that is no key")
    equal(names(listed(marker="foo/", delimiter="/", prefix="foo"))[1], [], "V1: a marker that is a common prefix is behind it")
    answer = listed(max_keys="2")
    equal((element(answer, "IsTruncated"), element(answer, "NextMarker")), ("true", None), "V1: no NextMarker without a delimiter")
    equal(names(listed(True, start_after="zzz"))[0], [], "V2: start-after behind everything")
    answer = listed(True, max_keys="1", start_after="b.d")
    token = element(answer, "NextContinuationToken")
    equal(names(listed(True, continuation_token=token, start_after="a"))[0], ["foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "x y"],
          "V2: a continuation token is more than start-after")
    expect("V2: an empty continuation token", listed(True, continuation_token=""), 400, "InvalidArgument")
    answer = listed(True, prefix="asdf")
    equal(texts(answer, "Contents", "ETag"), [f'"{hashlib.md5(b"1").hexdigest()}"'], "the ETag of an entry, quoted")
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", texts(answer, "Contents", "LastModified")[0]), "LastModified in ISO 8601 with milliseconds")
    for key in keys:
        client.delete(BUCKET, key)


# ---- reading ----

def reads(client):
    client.put(BUCKET, "k", b"0123456789")
    answer = client.get(BUCKET, "none")
    expect("a missing key", answer, 404, "NoSuchKey", Key="none", Resource=f"/{BUCKET}/none")
    equal(element(answer, "RequestId"), answer.headers["x-amz-request-id"], "an error's RequestId is its header's")
    equal(answer.headers["content-type"], "application/xml", "an error is XML")
    head = client.request("HEAD", path("none"))
    equal((head.status, head.body), (404, b""), "HEAD of a missing key has no body")
    answer = client.get(BUCKET, "k", headers={"range": "bytes=10-"})
    expect("a range that is not there", answer, 416, "InvalidRange", RangeRequested="bytes=10-", ActualObjectSize="10")
    equal(answer.headers.get("content-range"), "bytes */10", "and its Content-Range")
    expect("If-Match", client.get(BUCKET, "k", headers={"if-match": '"x"'}), 412, "PreconditionFailed", Condition="If-Match")
    expect("If-Unmodified-Since", client.get(BUCKET, "k", headers={"if-unmodified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}), 412,
           "PreconditionFailed", Condition="If-Unmodified-Since")
    for number, status, code in (("1", 206, ""), ("2", 416, "InvalidPartNumber"), ("0", 400, "InvalidArgument"), ("10001", 400, "InvalidArgument"),
                                 ("x", 400, "InvalidArgument")):
        expect(f"partNumber={number} of an object without parts", client.request("GET", path("k"), [("partNumber", number)]), status, code)
    expect("partNumber with a Range", client.request("GET", path("k"), [("partNumber", "1")], {"range": "bytes=0-1"}), 400, "InvalidRequest")
    expect("versionId=null", client.request("GET", path("k"), [("versionId", "null")]), 200)
    expect("a version that cannot be", client.request("GET", path("k"), [("versionId", "abc")]), 400, "InvalidArgument")
    signed, _ = sigv4.sign(client.creds, "GET", client.host, f"/{BUCKET}/%ae%8a")
    expect("a key that is no UTF-8", client.raw("GET", f"/{BUCKET}/%ae%8a", signed), 400, "InvalidURI")
    expect("an overwritten read", client.put(BUCKET, "k", b"new"), 200)
    equal(client.get(BUCKET, "k").body, b"new", "reads the new bytes")
    expect("the parameters of nobody", client.request("GET", path("k"), [("x-id", "GetObject")]), 200)
    answer = client.request("GET", path("k"), [("response-content-type", "a/b\r\nX-Evil: 1")])
    check(answer.status == 200 and "x-evil" not in answer.headers, "an override cannot write headers", str(answer.headers))


# ---- who asks ----

def asked_by(client):
    client.put(BUCKET, "k", b"0123456789")
    host = {"host": client.host}
    for method, target in (("GET", "/"), ("GET", path("k")), ("GET", path()), ("PUT", path("k")), ("DELETE", path("k"))):
        expect(f"nobody: {method} {target}", client.raw(method, target, dict(host, **({"content-length": "0"} if method == "PUT" else {}))), 403, "AccessDenied")
    equal(client.raw("HEAD", path("k"), host).status, 403, "nobody: HEAD")
    signed, _ = sigv4.sign(client.creds, "GET", client.host, path())
    for value, code in (("AWS AKIA:c2ln", "InvalidRequest"), ("Bearer x", "InvalidArgument"), ("", "InvalidArgument"),
                        ("AWS4-HMAC-SHA256 x", "AuthorizationHeaderMalformed")):
        expect(f"Authorization: {value}", client.raw("GET", path(), dict(signed, authorization=value)), 400, code)

    def link(text, status, code, method="GET", signed_for="GET", **options):
        return expect(f"a link {text}", client.raw(method, sigv4.presign(client.creds, signed_for, client.host, path("k"), **options), host), status, code)
    link("for now", 200, "")
    link("for no time at all", 403, "AccessDenied", expires_s=0)
    link("for less than that", 400, "AuthorizationQueryParametersError", expires_s=-7)
    link("for a week", 200, "", expires_s=604800)
    link("for more than a week", 400, "AuthorizationQueryParametersError", expires_s=604801)
    link("of an hour ago", 403, "AccessDenied", amz_date=sigv4.amz_now(-3600))
    link("of an hour ago, for two", 200, "", amz_date=sigv4.amz_now(-3600), expires_s=7200)
    link("of tomorrow", 403, "AccessDenied", amz_date=sigv4.amz_now(86400))
    answer = client.raw("HEAD", sigv4.presign(client.creds, "GET", client.host, path("k")), host)
    equal((answer.status, answer.body), (403, b""), "a link for GET is none for HEAD")
    answer = client.raw("HEAD", sigv4.presign(client.creds, "HEAD", client.host, path("k")), host)
    equal((answer.status, answer.headers["content-length"]), (200, "10"), "a link for HEAD")
    target = sigv4.presign(client.creds, "GET", client.host, path("k"), [("response-content-disposition", "attachment"), ("response-cache-control", "max-age=9")])
    answer = client.raw("GET", target, dict(host, range="bytes=2-4"))
    equal((answer.status, answer.body, answer.headers["content-disposition"], answer.headers["cache-control"]), (206, b"234", "attachment", "max-age=9"),
          "a link with overrides, and a range the signer knew nothing of")
    expect("a link whose override was changed", client.raw("GET", target.replace("attachment", "inline"), host), 403, "SignatureDoesNotMatch")
    expect("15 minutes are no skew", client.get(BUCKET, "k", amz_date=sigv4.amz_now(-840)), 200)
    for offset in (-960, 960):
        expect(f"{offset} s are", client.get(BUCKET, "k", amz_date=sigv4.amz_now(offset)), 403, "RequestTimeTooSkewed")


def browsers(client):
    """Without a CORS configuration: what a page of another origin asks is refused beforehand, and nothing says it may read."""
    host = {"host": client.host}
    client.put(BUCKET, "k", b"0123456789")
    expect("a preflight", client.raw("OPTIONS", path("k"), dict(host, origin="http://page", **{"access-control-request-method": "GET"})), 403,
           "AccessForbidden", Method="GET", ResourceType="OBJECT")
    expect("a preflight of a bucket", client.raw("OPTIONS", path(), dict(host, origin="http://page", **{"access-control-request-method": "PUT"})), 403,
           "AccessForbidden", Method="PUT", ResourceType="BUCKET")
    expect("one from nowhere", client.raw("OPTIONS", path("k"), dict(host, **{"access-control-request-method": "GET"})), 400, "BadRequest")
    expect("one for nothing", client.raw("OPTIONS", path("k"), dict(host, origin="http://page")), 400, "BadRequest")
    expect("one for a method there is not", client.raw("OPTIONS", path("k"), dict(host, origin="http://page", **{"access-control-request-method": "BREW"})), 400,
           "BadRequest")
    answer = client.raw("GET", sigv4.presign(client.creds, "GET", client.host, path("k")), dict(host, origin="http://page"))
    equal((answer.status, answer.body, [name for name in answer.headers if name.startswith("access-control")]), (200, b"0123456789", []),
          "an <img> or <video> of another origin is served, a script may not read it")


# ---- writing ----

def writes(client):
    for value, code in (("nonsense", "InvalidDigest"), ("", "InvalidDigest"), ("YWJyYWNhZGFicmE=", "InvalidDigest"), ("1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest")):
        expect(f"Content-MD5: {value!r}", client.put(BUCKET, "w", b"x", headers={"content-md5": value}), 400, code)
    answer = client.put(BUCKET, "w", b"x", headers={"expires": "never", "x-amz-meta-Upper": "A  b", "x-amz-meta-empty": ""})
    expect("metadata", answer, 200)
    got = client.request("HEAD", path("w")).headers
    equal((got.get("expires"), got.get("x-amz-meta-upper"), got.get("x-amz-meta-empty")), ("never", "A  b", ""), "metadata comes back as it was sent")
    expect("DELETE with another ETag", client.delete(BUCKET, "w", headers={"if-match": '"x"'}), 412, "PreconditionFailed")
    expect("DELETE of a missing key with one", client.delete(BUCKET, "none", headers={"if-match": "*"}), 404, "NoSuchKey")
    for name in ("x-amz-if-match-size", "x-amz-if-match-last-modified-time"):
        expect(f"DELETE with {name}: refused, not ignored", client.delete(BUCKET, "w", headers={name: "1"}), 501, "NotImplemented")
    expect("DELETE with the ETag", client.delete(BUCKET, "w", headers={"if-match": f'"{hashlib.md5(b"x").hexdigest()}"'}), 204)
    expect("DELETE of a missing key", client.delete(BUCKET, "none"), 204)
    expect("a body where a folder's name is", client.put(BUCKET, "folder/", b"abc"), 200)
    equal(client.get(BUCKET, "folder/").body, b"abc", "is an object like any other")
    expect("POST to an object", client.request("POST", path("folder/")), 405, "MethodNotAllowed")
    expect("CreateBucket with another document", client.request("PUT", "/semantics-two", body=b"<Foo/>"), 400, "MalformedXML")

    def delete_many(document, digest=True):
        headers = {"content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()} if digest else {}
        return client.request("POST", path(), [("delete", "")], headers, document)
    one = b"<Object><Key>a</Key></Object>"
    expect("DeleteObjects of 1,001", delete_many(b"<Delete>" + one * 1001 + b"</Delete>"), 400, "MalformedXML")
    expect("DeleteObjects of none", delete_many(b"<Delete></Delete>"), 400, "MalformedXML")
    expect("DeleteObjects without a digest", delete_many(b"<Delete>" + one + b"</Delete>", False), 400, "InvalidRequest")
    expect("DeleteObjects with a version", delete_many(b"<Delete><Object><Key>a</Key><VersionId>null</VersionId></Object></Delete>"), 200, Key="a")
    answer = delete_many(b"<Delete><Object><Key>folder/</Key><ETag>\"x\"</ETag></Object></Delete>")
    check(answer.status == 200 and b"<Code>PreconditionFailed</Code>" in answer.body, "DeleteObjects with an ETag that is another's", answer.body)
    expect("DeleteObjects with a Size: refused, not ignored",
           delete_many(b"<Delete><Object><Key>folder/</Key><Size>9</Size></Object></Delete>"), 501, "NotImplemented")
    equal(client.get(BUCKET, "folder/").status, 200, "and the object is there still")


def copies(client):
    client.put(BUCKET, "source", b"1", headers={"content-type": "x/y"})

    def copy(target, source, **headers):
        return client.request("PUT", path(target), headers={"x-amz-copy-source": source, **{k.replace("_", "-"): v for k, v in headers.items()}})
    past, future = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    table = [("to itself", "source", f"{BUCKET}/source", {}, 400, "InvalidRequest"),
             ("to itself in another class", "source", f"{BUCKET}/source", {"x_amz_storage_class": "STANDARD_IA"}, 200, ""),
             ("with a directive that is none", "c", f"{BUCKET}/source", {"x_amz_metadata_directive": "FOO"}, 400, "InvalidArgument"),
             ("of a bucket alone", "c", BUCKET, {}, 400, "InvalidArgument"),
             ("of nothing", "c", f"{BUCKET}/none", {}, 404, "NoSuchKey"),
             ("with a leading slash and a version", "c", f"/{BUCKET}/source?versionId=null", {}, 200, ""),
             ("of a version that cannot be", "c", f"/{BUCKET}/source?versionId=abc", {}, 400, "InvalidArgument"),
             ("if modified, which it was not", "c", f"{BUCKET}/source", {"x_amz_copy_source_if_modified_since": future}, 412, "PreconditionFailed"),
             ("if unmodified, which it was", "c", f"{BUCKET}/source", {"x_amz_copy_source_if_unmodified_since": past}, 412, "PreconditionFailed"),
             ("if unmodified, and the ETag is right", "c", f"{BUCKET}/source",
              {"x_amz_copy_source_if_unmodified_since": past, "x_amz_copy_source_if_match": f'"{hashlib.md5(b"1").hexdigest()}"'}, 200, "")]
    for text, target, source, headers, status, code in table:
        expect(f"a copy {text}", copy(target, source, **headers), status, code)
    equal(client.request("HEAD", path("c")).headers["content-type"], "x/y", "a copy has its source's type")


def multipart(client):
    def begin(key):
        return element(client.request("POST", path(key), [("uploads", "")]), "UploadId")
    upload, data = begin("mp"), b"abc"
    etag = hashlib.md5(data).hexdigest().encode()
    here = [("uploadId", upload)]
    expect("a part", client.request("PUT", path("mp"), here + [("partNumber", "1")], body=data), 200)
    for number in ("0", "10001", "x", "-1"):
        expect(f"part number {number}", client.request("PUT", path("mp"), here + [("partNumber", number)], body=data), 400, "InvalidArgument")
    client.put(BUCKET, "source", b"0123456789")
    for text in ("bytes=0", "0-2", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=5-2"):
        expect(f"a copy of the range {text}", client.request("PUT", path("mp"), here + [("partNumber", "2")],
                                                              {"x-amz-copy-source": f"{BUCKET}/source", "x-amz-copy-source-range": text}), 400, "InvalidArgument")
    answer = client.request("GET", path("mp"), here)
    equal((texts(answer, "Part", "PartNumber"), element(answer, "IsTruncated")), (["1"], "false"), "ListParts")
    expect("ListParts of another key", client.request("GET", path("other"), here), 404, "NoSuchUpload")
    for text, body, code in (("no XML", b"<x", "MalformedXML"), ("nothing", b"", "MalformedXML"), ("no parts", b"<CompleteMultipartUpload/>", "MalformedXML")):
        expect(f"Complete with {text}", client.request("POST", path("mp"), here, body=body), 400, code)
    expect("Complete of another key's upload", client.request("POST", path("other"), here, body=ONE_PART % etag), 404, "NoSuchUpload")
    expect("Complete with another ETag", client.request("POST", path("mp"), here, body=ONE_PART % EMPTY_MD5.encode()), 400, "InvalidPart")
    for _ in range(2):
        answer = client.request("POST", path("mp"), here, body=ONE_PART % etag)
        expect("Complete, and again", answer, 200, Bucket=BUCKET, Key="mp")
    equal(element(answer, "ETag"), f'&quot;{hashlib.md5(hashlib.md5(data).digest()).hexdigest()}-1&quot;', "the ETag of one part")
    expect("Abort of a completed upload", client.request("DELETE", path("mp"), here), 404, "NoSuchUpload")
    answer = client.request("GET", path("mp"), [("partNumber", "1")])
    equal((answer.status, answer.body, answer.headers.get("x-amz-mp-parts-count")), (206, data, "1"), "its one part")
    one, two = begin("twice"), begin("twice")
    client.request("DELETE", path("twice"), [("uploadId", one)])
    equal(texts(client.request("GET", path(), [("uploads", "")]), "Upload", "UploadId"), [two], "an upload aborted beside another of the same key")
    client.request("DELETE", path("twice"), [("uploadId", two)])
    expect("Abort again", client.request("DELETE", path("twice"), [("uploadId", two)]), 404, "NoSuchUpload")


def buckets(client):
    for n in range(3):
        client.request("PUT", f"/semantics-list-{n}")
    answer = client.request("GET", "/", [("prefix", "semantics-list-"), ("max-buckets", "2")])
    equal(texts(answer, "Buckets", "Bucket", "Name"), ["semantics-list-0", "semantics-list-1"], "ListBuckets: prefix and max-buckets")
    token = element(answer, "ContinuationToken")
    answer = client.request("GET", "/", [("prefix", "semantics-list-"), ("max-buckets", "2"), ("continuation-token", token or "")])
    equal((texts(answer, "Buckets", "Bucket", "Name"), element(answer, "ContinuationToken")), (["semantics-list-2"], None), "ListBuckets: the next page")
    expect("ListBuckets: max-buckets=0", client.request("GET", "/", [("max-buckets", "0")]), 400, "InvalidArgument")
    expect("DeleteBucket", client.request("DELETE", "/semantics-list-0"), 204)
    expect("DeleteBucket again", client.request("DELETE", "/semantics-list-0"), 404, "NoSuchBucket", BucketName="semantics-list-0")
    expect("DeleteBucket that is not empty", client.request("DELETE", path()), 409, "BucketNotEmpty", BucketName=BUCKET)
    expect("the bucket with a slash behind", client.request("GET", path() + "/", [("max-keys", "0")]), 200, Name=BUCKET)


def main():
    with Node("semantics") as node:
        client = node.client()
        equal(client.make_bucket(BUCKET).status, 200, "the bucket")
        for section in (listings, reads, asked_by, browsers, writes, copies, multipart, buckets):
            with guarded(section.__name__):
                section(client)
    finish()


main()
