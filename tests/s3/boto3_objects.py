"""One object at a time, as AWS S3 answers: bytes, headers, ranges, conditions, checksums, copies, odd keys, errors."""
import hashlib
import random
import threading

from boto3_common import MIB, body_of, checksum, extra_headers, fails, knows, outcome, same
from checks import check, equal

BUCKET = "objects"
ODD_KEYS = ["a", "a/b", "/leading", "//two", "trailing/", "a//b", "../up", "./here", "a/../b", "a/./b", ".", "..", "space in it",
            " lead", "trail ", "plus+plus", "per%cent", "%2F", "%00", "a?b", "a#b", "a&b=c;d", "quote\"'`", "<xml>&amp;", "back\\slash",
            "tab\tnew\nline\rreturn", "\x01\x1f\x7f", "ünïcode-é-é", "文字/日本語", "🪣🌊", "~tilde*()[]{}|^", "k" * 1024, "é" * 512]


def bytes_and_headers(s3):
    data = random.Random(1).randbytes(100_001)
    answer = s3.put_object(Bucket=BUCKET, Key="headers", Body=data, ContentType="text/x-test; charset=utf-8",
                           ContentEncoding="identity", ContentDisposition='attachment; filename="x"', ContentLanguage="de",
                           CacheControl="max-age=3", Expires="Thu, 01 Jan 2032 00:00:00 GMT", Metadata={"one": "1", "two": "Zwei b"},
                           StorageClass="STANDARD")
    equal(answer["ETag"], f'"{hashlib.md5(data).hexdigest()}"', "PutObject: the ETag is the MD5")
    for name, call in (("GetObject", s3.get_object), ("HeadObject", s3.head_object)):
        got = call(Bucket=BUCKET, Key="headers")
        fields = ("ETag", "ContentLength", "ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage",
                  "CacheControl", "Metadata", "AcceptRanges")
        equal([got.get(field) for field in fields],
              [answer["ETag"], len(data), "text/x-test; charset=utf-8", "identity", 'attachment; filename="x"', "de",
               "max-age=3", {"one": "1", "two": "Zwei b"}, "bytes"], f"{name}: the headers it was stored with")
        check("LastModified" in got, f"{name}: Last-Modified")
        equal(got["ResponseMetadata"]["HTTPHeaders"].get("expires"), "Thu, 01 Jan 2032 00:00:00 GMT", f"{name}: Expires")
    same(body_of(s3.get_object(Bucket=BUCKET, Key="headers")), data, "GetObject: the same bytes")
    s3.put_object(Bucket=BUCKET, Key="bare", Body=b"")
    got = s3.head_object(Bucket=BUCKET, Key="bare")
    equal((got["ContentType"], got["ContentLength"]), ("binary/octet-stream", 0), "the type of an object that has none")
    got = s3.get_object(Bucket=BUCKET, Key="headers", ResponseContentType="a/b", ResponseCacheControl="no-store",
                        ResponseContentDisposition="inline", ResponseContentLanguage="fr", ResponseContentEncoding="x")
    equal([got[field] for field in ("ContentType", "CacheControl", "ContentDisposition", "ContentLanguage", "ContentEncoding")],
          ["a/b", "no-store", "inline", "fr", "x"], "response-* overrides")
    s3.put_object(Bucket=BUCKET, Key="headers", Body=b"second")
    got = s3.get_object(Bucket=BUCKET, Key="headers")
    equal((body_of(got), got["Metadata"]), (b"second", {}), "an overwrite replaces bytes and metadata")
    fails("metadata of more than 2 KiB", (400, "MetadataTooLarge"), s3.put_object, Bucket=BUCKET, Key="big-meta", Body=b"",
          Metadata={"m": "x" * 2100})
    fails("an unknown storage class", (400, "InvalidStorageClass"), s3.put_object, Bucket=BUCKET, Key="class", Body=b"",
          StorageClass="NO_SUCH_CLASS")


def ranges(s3):
    data = random.Random(2).randbytes(3 * MIB + 17)
    for key, body in (("range/large", data), ("range/small", data[:1000])):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        size = len(body)
        for text, first, last in (("0-0", 0, 0), ("0-99", 0, 99), ("5-", 5, size - 1), ("-7", size - 7, size - 1), ("10-999999999", 10, size - 1),
                                  (f"{size - 1}-", size - 1, size - 1), (f"-{size + 5}", 0, size - 1), (f"0-{size - 1}", 0, size - 1)):
            got = s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={text}")
            equal((got["ResponseMetadata"]["HTTPStatusCode"], got["ContentRange"], body_of(got) == body[first:last + 1]),
                  (206, f"bytes {first}-{last}/{size}", True), f"{key}: bytes={text}")
        for text in (f"{size}-", f"{size + 10}-{size + 20}", "-0"):
            fails(f"{key}: bytes={text} is not there", (416, "InvalidRange"), s3.get_object, Bucket=BUCKET, Key=key, Range=f"bytes={text}")
    for first, last in ((65535, 65536), (262143, 262145), (1048575, 2097153), (4095, 4096), (3 * MIB - 1, 3 * MIB + 1)):
        got = s3.get_object(Bucket=BUCKET, Key="range/large", Range=f"bytes={first}-{last}")
        same(body_of(got), data[first:last + 1], f"a range over a boundary: {first}-{last}")
    for text in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes="):
        got = s3.get_object(Bucket=BUCKET, Key="range/small", Range=text)
        equal((got["ResponseMetadata"]["HTTPStatusCode"], len(body_of(got))), (200, 1000), f"a Range that is none is ignored: {text}")
    s3.put_object(Bucket=BUCKET, Key="range/empty", Body=b"")
    fails("a range of an empty object", (416, "InvalidRange"), s3.get_object, Bucket=BUCKET, Key="range/empty", Range="bytes=0-0")


def conditional_reads(s3):
    put = s3.put_object(Bucket=BUCKET, Key="cond", Body=b"condition")
    etag, when = put["ETag"], s3.head_object(Bucket=BUCKET, Key="cond")["LastModified"]
    before, after = when.replace(year=when.year - 1), when.replace(year=when.year + 1)
    good, other = etag, '"00000000000000000000000000000000"'
    table = [({"IfMatch": good}, 200), ({"IfMatch": other}, 412), ({"IfMatch": "*"}, 200), ({"IfNoneMatch": good}, 304),
             ({"IfNoneMatch": other}, 200), ({"IfModifiedSince": before}, 200), ({"IfModifiedSince": when}, 304),
             ({"IfUnmodifiedSince": before}, 412), ({"IfUnmodifiedSince": after}, 200),
             ({"IfMatch": good, "IfUnmodifiedSince": before}, 200), ({"IfNoneMatch": other, "IfModifiedSince": when}, 200),
             ({"IfNoneMatch": good, "IfModifiedSince": before}, 304)]
    for conditions, status in table:
        for name, call in (("GET", s3.get_object), ("HEAD", s3.head_object)):
            got, _ = outcome(call, Bucket=BUCKET, Key="cond", **conditions)
            equal(got, status, f"{name} with {sorted((k, 'good' if v == good else str(v)[:10]) for k, v in conditions.items())}")


def conditional_writes(s3):
    def put(key, headers, body=b"new"):
        with extra_headers(s3, "PutObject", headers):
            return outcome(s3.put_object, Bucket=BUCKET, Key=key, Body=body)
    equal(put("cw", {"If-None-Match": "*"}), (200, ""), "If-None-Match: * creates")
    equal(put("cw", {"If-None-Match": "*"}, b"again"), (412, "PreconditionFailed"), "If-None-Match: * refuses what exists")
    etag = s3.head_object(Bucket=BUCKET, Key="cw")["ETag"]
    equal(put("cw", {"If-Match": '"0123"'}), (412, "PreconditionFailed"), "If-Match with another ETag")
    equal(put("cw", {"If-Match": etag}, b"third"), (200, ""), "If-Match with the ETag")
    equal(body_of(s3.get_object(Bucket=BUCKET, Key="cw")), b"third", "the winner's bytes")
    equal(put("cw-missing", {"If-Match": etag}), (404, "NoSuchKey"), "If-Match on a missing key")
    results = []

    with extra_headers(s3, "PutObject", {"If-None-Match": "*"}):
        def attempt():
            results.append(outcome(s3.put_object, Bucket=BUCKET, Key="race", Body=b"racer"))
        threads = [threading.Thread(target=attempt) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wins = [result for result in results if result == (200, "")]
    rest = [result for result in results if result not in ((200, ""), (412, "PreconditionFailed"), (409, "ConditionalRequestConflict"))]
    equal((len(wins), rest), (1, []), "of 16 racing If-None-Match: * exactly one wins")


def checksums(s3):
    data = random.Random(3).randbytes(70_000)
    shape = s3.meta.service_model.shape_for("ChecksumAlgorithm")
    for algorithm in [name for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256") if name in shape.enum]:
        field, header, want = f"Checksum{algorithm}", f"x-amz-checksum-{algorithm.lower()}", checksum(algorithm, data)
        put = s3.put_object(Bucket=BUCKET, Key=f"sum/{algorithm}", Body=data, **{field: want})
        equal(put.get(field), want, f"{algorithm} in a header: echoed")
        got = s3.get_object(Bucket=BUCKET, Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
        equal((got.get(field), body_of(got) == data), (want, True), f"{algorithm}: GET with checksum mode")
        got = s3.head_object(Bucket=BUCKET, Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
        equal(got.get(field), want, f"{algorithm}: HEAD with checksum mode")
        wrong = checksum(algorithm, data + b"x")
        fails(f"{algorithm}: a wrong value", [(400, "BadDigest"), (400, "XAmzContentChecksumMismatch")], s3.put_object,
              Bucket=BUCKET, Key=f"sum/wrong-{algorithm}", Body=data, **{field: wrong})
        fails(f"{algorithm}: nothing of it is stored", (404, "404"), s3.head_object, Bucket=BUCKET, Key=f"sum/wrong-{algorithm}")
        with extra_headers(s3, "PutObject", {header: "not base64!"}):
            equal(outcome(s3.put_object, Bucket=BUCKET, Key="sum/bad", Body=data), (400, "InvalidRequest"), f"{algorithm}: a value that is none")
    for algorithm in ("CRC32", "SHA256", "SHA1"):
        put = s3.put_object(Bucket=BUCKET, Key=f"sum/auto-{algorithm}", Body=data, ChecksumAlgorithm=algorithm)
        equal(put.get(f"Checksum{algorithm}"), checksum(algorithm, data), f"{algorithm} as boto3 itself sends it")
    put = s3.put_object(Bucket=BUCKET, Key="sum/default", Body=data)
    if knows(s3, "PutObject", "ChecksumCRC64NVME"):
        equal(put.get("ChecksumCRC32"), checksum("CRC32", data), "the default checksum of new SDKs")
    with extra_headers(s3, "PutObject", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}):
        equal(outcome(s3.put_object, Bucket=BUCKET, Key="md5", Body=b"other"), (400, "BadDigest"), "a wrong Content-MD5")
    with extra_headers(s3, "PutObject", {"Content-MD5": "nonsense"}):
        equal(outcome(s3.put_object, Bucket=BUCKET, Key="md5", Body=b"other"), (400, "InvalidDigest"), "a Content-MD5 that is none")


def copies(s3):
    data = random.Random(4).randbytes(200_000)
    s3.put_object(Bucket=BUCKET, Key="copy/source", Body=data, ContentType="x/source", Metadata={"a": "1"})
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    source = {"Bucket": BUCKET, "Key": "copy/source"}
    answer = s3.copy_object(Bucket=BUCKET, Key="copy/one", CopySource=source)
    equal(answer["CopyObjectResult"]["ETag"], etag, "CopyObject: the ETag")
    got = s3.get_object(Bucket=BUCKET, Key="copy/one")
    equal((got["ContentType"], got["Metadata"], body_of(got) == data), ("x/source", {"a": "1"}, True), "CopyObject: bytes and metadata")
    s3.copy_object(Bucket=BUCKET, Key="copy/two", CopySource=source, MetadataDirective="REPLACE", ContentType="x/new", Metadata={"b": "2"})
    got = s3.head_object(Bucket=BUCKET, Key="copy/two")
    equal((got["ContentType"], got["Metadata"]), ("x/new", {"b": "2"}), "CopyObject: replaced metadata")
    fails("a copy to itself that changes nothing", (400, "InvalidRequest"), s3.copy_object, CopySource=source, **source)
    s3.copy_object(CopySource=source, MetadataDirective="REPLACE", Metadata={"c": "3"}, **source)
    got = s3.get_object(**source)
    equal((got["Metadata"], body_of(got) == data), ({"c": "3"}, True), "a copy to itself with new metadata")
    s3.delete_object(**source)
    same(body_of(s3.get_object(Bucket=BUCKET, Key="copy/one")), data, "a copy outlives its source")
    source["Key"] = "copy/one"
    fails("copy-source-if-match", (412, "PreconditionFailed"), s3.copy_object, Bucket=BUCKET, Key="copy/x", CopySource=source, CopySourceIfMatch='"no"')
    fails("copy-source-if-none-match", (412, "PreconditionFailed"), s3.copy_object, Bucket=BUCKET, Key="copy/x", CopySource=source, CopySourceIfNoneMatch=etag)
    fails("copy-source-if-match that holds", (200, ""), s3.copy_object, Bucket=BUCKET, Key="copy/x", CopySource=source, CopySourceIfMatch=etag)
    fails("a missing source", (404, "NoSuchKey"), s3.copy_object, Bucket=BUCKET, Key="copy/x", CopySource=f"{BUCKET}/none")
    fails("a source in a missing bucket", (404, "NoSuchBucket"), s3.copy_object, Bucket=BUCKET, Key="copy/x", CopySource="no-such-bucket/none")
    odd = {"Bucket": BUCKET, "Key": "copy/odd +%2F ü"}
    s3.put_object(Body=b"odd", **odd)
    s3.copy_object(Bucket=BUCKET, Key="copy/from odd", CopySource=odd)
    equal(body_of(s3.get_object(Bucket=BUCKET, Key="copy/from odd")), b"odd", "a source with an odd name")


def odd_keys(s3):
    s3.create_bucket(Bucket="odd-keys")
    for key in ODD_KEYS:
        s3.put_object(Bucket="odd-keys", Key=key, Body=key.encode())
    for key in ODD_KEYS:
        status, got = outcome(s3.head_object, Bucket="odd-keys", Key=key)[0], b""
        if status == 200:
            got = body_of(s3.get_object(Bucket="odd-keys", Key=key))
        equal((status, got), (200, key.encode()), f"the key {key[:40]!r}")
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket="odd-keys")["Contents"]]
    equal(listed, sorted(ODD_KEYS, key=str.encode), "the listing has every odd key, in byte order")
    fails("a key of 1025 bytes", (400, "KeyTooLongError"), s3.put_object, Bucket="odd-keys", Key="k" * 1025, Body=b"")
    for key in ODD_KEYS:
        s3.delete_object(Bucket="odd-keys", Key=key)
    equal(s3.list_objects_v2(Bucket="odd-keys").get("KeyCount"), 0, "every odd key can be deleted")
    fails("the emptied bucket goes", (204, ""), s3.delete_bucket, Bucket="odd-keys")


def attributes(s3):
    data = b"attributes" * 1000
    s3.put_object(Bucket=BUCKET, Key="attr", Body=data, ChecksumSHA256=checksum("SHA256", data))
    got = s3.get_object_attributes(Bucket=BUCKET, Key="attr", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"])
    equal((got["ETag"], got["ObjectSize"], got["StorageClass"], got["Checksum"].get("ChecksumSHA256")),
          (hashlib.md5(data).hexdigest(), len(data), "STANDARD", checksum("SHA256", data)), "GetObjectAttributes")
    fails("GetObjectAttributes of a missing key", (404, "NoSuchKey"), s3.get_object_attributes, Bucket=BUCKET, Key="no", ObjectAttributes=["ETag"])


def deletes(s3):
    for n in range(1000):
        s3.put_object(Bucket=BUCKET, Key=f"del/{n:04}", Body=b"")
    keys = [{"Key": f"del/{n:04}"} for n in range(999)] + [{"Key": "del/missing"}]
    got = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
    equal((len(got.get("Deleted", [])), got.get("Errors", [])), (1000, []), "DeleteObjects of 1,000 keys, one of them missing")
    got = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "del/0999"}], "Quiet": True})
    equal((got.get("Deleted", []), got.get("Errors", [])), ([], []), "a quiet DeleteObjects says nothing")
    equal(s3.list_objects_v2(Bucket=BUCKET, Prefix="del/").get("KeyCount"), 0, "and they are gone")
    fails("DeleteObjects of 1,001 keys", (400, "MalformedXML"), s3.delete_objects, Bucket=BUCKET,
          Delete={"Objects": [{"Key": f"x{n}"} for n in range(1001)]})
    fails("DeleteObject of a missing key", (204, ""), s3.delete_object, Bucket=BUCKET, Key="no-such-key")


def consistency(s3):
    stale = 0
    for n in range(200):
        s3.put_object(Bucket=BUCKET, Key="fresh", Body=b"%d" % n)
        stale += body_of(s3.get_object(Bucket=BUCKET, Key="fresh")) != b"%d" % n
        s3.put_object(Bucket=BUCKET, Key=f"fresh-list/{n:03}", Body=b"")
        stale += s3.list_objects_v2(Bucket=BUCKET, Prefix=f"fresh-list/{n:03}")["KeyCount"] != 1
    equal(stale, 0, "read after overwrite and list after write, 200 times")


SECTIONS = [bytes_and_headers, ranges, conditional_reads, conditional_writes, checksums, copies, odd_keys, attributes, deletes, consistency]
