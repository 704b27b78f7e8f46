"""Buckets and listings, identities, presigned requests and browser forms, as AWS S3 answers them."""
import json
import ssl
import time
import urllib.error
import urllib.request
import uuid

from botocore.handlers import validate_bucket_name

from boto3_common import body_of, fails, make_client
from checks import check, equal

BUCKET = "listing"
KEYS = ["a", "a/", "a/b/c", "a/b/d", "a/e", "b!", "b", "b/1", "b/2", "b0", "c", "ü/1", "ü/2", "z//x", "z//y"]


def buckets(s3):
    s3.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)       # the server is to judge them
    for name in ("ab", "Upper", "under_score", "-dash", "dash-", "dot..dot", "192.168.1.1", "x" * 64, "xn--abc", "name-s3alias"):
        fails(f"the bucket name {name[:20]!r}", (400, "InvalidBucketName"), s3.create_bucket, Bucket=name)
    fails("a bucket made again", [(200, ""), (409, "BucketAlreadyOwnedByYou")], s3.create_bucket, Bucket=BUCKET)
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    check(BUCKET in names and names == sorted(names), "ListBuckets in order", names)
    fails("HeadBucket of none", (404, "404"), s3.head_bucket, Bucket="no-such-bucket")
    for call, more in ((s3.list_objects_v2, {}), (s3.list_objects, {}), (s3.list_object_versions, {}), (s3.get_bucket_location, {}), (s3.delete_bucket, {}),
                       (s3.put_object, {"Key": "k", "Body": b""}), (s3.get_object, {"Key": "k"}), (s3.delete_object, {"Key": "k"}),
                       (s3.create_multipart_upload, {"Key": "k"}), (s3.list_multipart_uploads, {})):
        fails(f"{call.__name__} in a bucket that is not there", (404, "NoSuchBucket"), call, Bucket="no-such-bucket", **more)
    fails("DeleteBucket that is not empty", (409, "BucketNotEmpty"), s3.delete_bucket, Bucket=BUCKET)
    fails("a call that Sluice has not", (501, "NotImplemented"), s3.get_object_torrent, Bucket=BUCKET, Key="a")


def keys_of(answer):
    return ([item["Key"] for item in answer.get("Contents", [])], [item["Prefix"] for item in answer.get("CommonPrefixes", [])])


def listing_v2(s3):
    ordered = sorted(KEYS, key=str.encode)
    got = s3.list_objects_v2(Bucket=BUCKET)
    equal((keys_of(got)[0], got["KeyCount"], got["IsTruncated"]), (ordered, len(KEYS), False), "V2: all keys in byte order")
    equal(keys_of(s3.list_objects_v2(Bucket=BUCKET, Delimiter="/")),
          (["a", "b", "b!", "b0", "c"], ["a/", "b/", "z/", "ü/"]), "V2: delimiter")
    equal(keys_of(s3.list_objects_v2(Bucket=BUCKET, Delimiter="/", Prefix="a/")), (["a/", "a/e"], ["a/b/"]), "V2: prefix and delimiter")
    equal(keys_of(s3.list_objects_v2(Bucket=BUCKET, Delimiter="//")), ([k for k in ordered if "//" not in k], ["z//"]), "V2: a delimiter of two characters")
    equal(keys_of(s3.list_objects_v2(Bucket=BUCKET, Prefix="none")), ([], []), "V2: a prefix of nothing")
    equal(keys_of(s3.list_objects_v2(Bucket=BUCKET, StartAfter="b"))[0], [k for k in ordered if k.encode() > b"b"], "V2: start-after")
    got = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=0)
    equal((keys_of(got), got["IsTruncated"], got["KeyCount"]), (([], []), False, 0), "V2: max-keys 0")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2}))
    equal([k for page in pages for k in keys_of(page)[0]], ordered, "V2: pages of two")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Delimiter="/", PaginationConfig={"PageSize": 2}))
    equal(([k for page in pages for k in keys_of(page)[0]], [p for page in pages for p in keys_of(page)[1]]),
          (["a", "b", "b!", "b0", "c"], ["a/", "b/", "z/", "ü/"]), "V2: pages of two with a delimiter, no prefix twice")
    check(all(page["KeyCount"] <= 2 for page in pages), "V2: CommonPrefixes count towards max-keys")
    got = s3.list_objects_v2(Bucket=BUCKET, FetchOwner=True)
    check(all("Owner" in item for item in got["Contents"]), "V2: fetch-owner")
    check("Owner" not in s3.list_objects_v2(Bucket=BUCKET)["Contents"][0], "V2: no owner unasked")
    fails("V2: a continuation token that is none", (400, "InvalidArgument"), s3.list_objects_v2, Bucket=BUCKET, ContinuationToken="nonsense")
    fails("V2: max-keys -1", (400, "InvalidArgument"), s3.list_objects_v2, Bucket=BUCKET, MaxKeys=-1)


def listing_v1(s3):
    ordered = sorted(KEYS, key=str.encode)
    got = s3.list_objects(Bucket=BUCKET)
    equal(keys_of(got)[0], ordered, "V1: all keys in byte order")
    got = s3.list_objects(Bucket=BUCKET, MaxKeys=3, Delimiter="/")
    equal((keys_of(got), got["IsTruncated"], got["NextMarker"]), ((["a", "b"], ["a/"]), True, "b"), "V1: NextMarker with a delimiter")
    got = s3.list_objects(Bucket=BUCKET, Marker="b", MaxKeys=2)
    equal((keys_of(got)[0], got["IsTruncated"]), (["b!", "b/1"], True), "V1: marker")
    pages = list(s3.get_paginator("list_objects").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 4}))
    equal([k for page in pages for k in keys_of(page)[0]], ordered, "V1: pages of four")
    check("Owner" in s3.list_objects(Bucket=BUCKET)["Contents"][0], "V1: owner")


def listing_versions(s3):
    ordered = sorted(KEYS, key=str.encode)
    got = s3.list_object_versions(Bucket=BUCKET)
    equal([item["Key"] for item in got["Versions"]], ordered, "versions: all keys in byte order")
    equal({(item["VersionId"], item["IsLatest"], "Owner" in item) for item in got["Versions"]}, {("null", True, True)}, "versions: one of each, \"null\"")
    equal(("DeleteMarkers" in got, got["IsTruncated"]), (False, False), "versions: no delete markers")
    got = s3.list_object_versions(Bucket=BUCKET, MaxKeys=3, Delimiter="/")
    equal(([item["Key"] for item in got["Versions"]], [item["Prefix"] for item in got["CommonPrefixes"]]), (["a", "b"], ["a/"]), "versions: a delimiter")
    equal((got["IsTruncated"], got["NextKeyMarker"], got["NextVersionIdMarker"]), (True, "b", "null"), "versions: where the next page begins")
    got = s3.list_object_versions(Bucket=BUCKET, MaxKeys=2, Delimiter="/")
    equal((got["NextKeyMarker"], "NextVersionIdMarker" in got), ("a/", False), "versions: behind a prefix there is no version")
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2}))
    equal([item["Key"] for page in pages for item in page["Versions"]], ordered, "versions: pages of two")
    fails("versions: a version without a key", (400, "InvalidArgument"), s3.list_object_versions, Bucket=BUCKET, VersionIdMarker="null")
    fails("versions: a version that cannot be", (400, "InvalidArgument"), s3.list_object_versions, Bucket=BUCKET, KeyMarker="a", VersionIdMarker="1")


def changing_while_listing(s3):
    for n in range(0, 40, 2):
        s3.put_object(Bucket=BUCKET, Key=f"moving/{n:02}", Body=b"")
    got = s3.list_objects_v2(Bucket=BUCKET, Prefix="moving/", MaxKeys=10)
    seen = keys_of(got)[0]
    s3.delete_object(Bucket=BUCKET, Key=seen[-1])
    s3.put_object(Bucket=BUCKET, Key="moving/01", Body=b"")
    s3.put_object(Bucket=BUCKET, Key="moving/39", Body=b"")
    while got["IsTruncated"]:
        got = s3.list_objects_v2(Bucket=BUCKET, Prefix="moving/", MaxKeys=10, ContinuationToken=got["NextContinuationToken"])
        seen += keys_of(got)[0]
    equal(seen, [f"moving/{n:02}" for n in range(0, 40, 2)] + ["moving/39"], "a continuation token survives inserts and deletes")


def identities(s3, node):
    fails("an unknown access key", (403, "InvalidAccessKeyId"), make_client(node, key="AKIDNOBODY").list_buckets)
    fails("a wrong secret", (403, "SignatureDoesNotMatch"), make_client(node, secret="wrong").list_buckets)
    code, text = node.cli("key", "create", "--name", "second", "--bucket", f"{BUCKET}:r", "--json")
    check(code == 0, "sluice key create", text)
    if code:
        return
    made = json.loads(text)
    reader = make_client(node, key=made["access_key"], secret=made["secret_key"])
    fails("a reading key reads", (200, ""), reader.get_object, Bucket=BUCKET, Key="a")
    fails("a reading key does not write", (403, "AccessDenied"), reader.put_object, Bucket=BUCKET, Key="a", Body=b"")
    fails("a key of one bucket sees no other", (403, "AccessDenied"), reader.list_objects_v2, Bucket="objects")
    code, text = node.cli("key", "rm", made["access_key"])
    check(code == 0, "sluice key rm", text)
    fails("a removed key is unknown", (403, "InvalidAccessKeyId"), reader.get_object, Bucket=BUCKET, Key="a")


TRUSTED = None  # certificates, when the node speaks TLS


def trust(node):
    global TRUSTED
    TRUSTED = ssl.create_default_context(cafile=node.ca) if node.ca else None


def fetch(url, data=None, method=None, headers=None):
    """(status, body, headers) of a plain HTTP request."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60, context=TRUSTED) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def presigned(s3):
    url = s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "pre signed+"})
    equal(fetch(url, b"by a link", "PUT", {"Content-Type": ""})[0], 200, "a presigned PUT")
    url = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "pre signed+", "ResponseContentType": "x/link"})
    status, body, headers = fetch(url)
    equal((status, body, headers["Content-Type"]), (200, b"by a link", "x/link"), "a presigned GET with an override")
    status, body, _ = fetch(url, method="DELETE")
    check(status == 403 and b"SignatureDoesNotMatch" in body, "a link for GET is none for DELETE", body)
    status, body, _ = fetch(url + "0")
    check(status == 403 and b"SignatureDoesNotMatch" in body, "a changed signature", body)
    short_lived = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "pre signed+"}, ExpiresIn=1)
    time.sleep(2.2)
    status, body, _ = fetch(short_lived)
    check(status == 403 and b"<Code>AccessDenied</Code>" in body, "an expired link", body)
    long_lived = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "pre signed+"}, ExpiresIn=604801)
    status, body, _ = fetch(long_lived)
    check(status == 400 and b"AuthorizationQueryParametersError" in body, "a link for more than a week", body)
    s3.delete_object(Bucket=BUCKET, Key="pre signed+")


def form(fields, data, name="file.txt"):
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 "Content-Type: text/plain\r\n\r\n".encode() + data + f"\r\n--{boundary}--\r\n".encode())
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def post_forms(s3):
    post = s3.generate_presigned_post(BUCKET, "form/${filename}", Fields={"x-amz-meta-from": "form", "Content-Type": "text/plain"},
                                      Conditions=[["content-length-range", 1, 100000], {"x-amz-meta-from": "form"},
                                                  {"Content-Type": "text/plain"}])

    def send(data, **changed):
        body, headers = form({**post["fields"], **changed}, data)
        return fetch(post["url"], body, "POST", headers)
    equal(send(b"from a browser")[0], 204, "a form upload answers 204")
    got = s3.get_object(Bucket=BUCKET, Key="form/file.txt")
    equal((body_of(got), got["Metadata"], got["ContentType"]), (b"from a browser", {"from": "form"}, "text/plain"), "what the form stored")
    tricky = b"\r\n--not-the-boundary\r\n" * 3000
    equal(send(tricky)[0], 204, "a form whose file looks like a boundary")
    equal(body_of(s3.get_object(Bucket=BUCKET, Key="form/file.txt")), tricky, "its bytes")
    table = [("a file over the policy's limit", b"x" * 100001, {}, 400, b"EntityTooLarge"), ("an empty file under it", b"", {}, 400, b"EntityTooSmall"),
             ("metadata other than the policy's", b"x", {"x-amz-meta-from": "else"}, 403, b"AccessDenied"),
             ("a key outside the policy", b"x", {"key": "elsewhere"}, 403, b"AccessDenied"),
             ("a field the policy does not name", b"x", {"x-amz-meta-more": "1"}, 403, b"AccessDenied"),
             ("a changed policy", b"x", {"policy": post["fields"]["policy"][:-8] + "AAAAAAA="}, 403, b"SignatureDoesNotMatch")]
    for text, data, changed, status, code in table:
        got = send(data, **changed)
        check(got[0] == status and code in got[1], f"form: {text}", f"expected {status} {code}\ngot {got[0]} {got[1][:300]}")
    post = s3.generate_presigned_post(BUCKET, "form/201", Fields={"success_action_status": "201"}, Conditions=[{"success_action_status": "201"}])
    status, body, _ = send(b"two hundred and one")
    check(status == 201 and b"<PostResponse>" in body and b"<Key>form/201</Key>" in body, "success_action_status 201", body)
    for key in ("form/file.txt", "form/201"):
        s3.delete_object(Bucket=BUCKET, Key=key)


def prepare(s3):
    for key in KEYS:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())


SECTIONS = [prepare, buckets, listing_v2, listing_v1, listing_versions, changing_while_listing, presigned, post_forms]
NODE_SECTIONS = [identities]
