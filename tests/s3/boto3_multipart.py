"""Multipart uploads as AWS S3 does them: parts, their errors, copies of ranges, checksums of both kinds, part reads."""
import base64
import hashlib
import random

from boto3_common import MIB, body_of, checksum, extra_headers, fails, same
from checks import check, equal

BUCKET = "multipart"
PART = 5 * MIB


def upload(s3, key, parts, **create):
    """Creates an upload and sends the parts; returns its id and the list for complete."""
    upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key=key, **create)["UploadId"]
    done = []
    for number, data in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=number, Body=data)
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    return upload_id, done


def complete(s3, key, upload_id, done, **more):
    return s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id, MultipartUpload={"Parts": done}, **more)


def etag_of(parts):
    return f'"{hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"'


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def whole(s3):
    parts = [noise(1, PART), noise(2, PART + 4097), noise(3, 12345)]
    upload_id, done = upload(s3, "whole", parts, ContentType="x/y", Metadata={"m": "1"})
    fails("before complete there is no object", (404, "404"), s3.head_object, Bucket=BUCKET, Key="whole")
    listed = s3.list_parts(Bucket=BUCKET, Key="whole", UploadId=upload_id)
    equal([(p["PartNumber"], p["Size"], p["ETag"]) for p in listed["Parts"]],
          [(d["PartNumber"], len(data), d["ETag"]) for d, data in zip(done, parts)], "ListParts")
    page = s3.list_parts(Bucket=BUCKET, Key="whole", UploadId=upload_id, MaxParts=2)
    equal((len(page["Parts"]), page["IsTruncated"], page["NextPartNumberMarker"]), (2, True, 2), "ListParts in pages")
    page = s3.list_parts(Bucket=BUCKET, Key="whole", UploadId=upload_id, PartNumberMarker=2)
    equal([p["PartNumber"] for p in page["Parts"]], [3], "ListParts: the next page")
    ids = [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=BUCKET, Prefix="who").get("Uploads", [])]
    equal(ids, [upload_id], "ListMultipartUploads")
    answer = complete(s3, "whole", upload_id, done)
    equal(answer["ETag"], etag_of(parts), "Complete: the ETag")
    got = s3.get_object(Bucket=BUCKET, Key="whole")
    equal((got["ETag"], got["ContentType"], got["Metadata"]), (etag_of(parts), "x/y", {"m": "1"}), "GetObject: its headers")
    same(body_of(got), b"".join(parts), "GetObject: its bytes")
    fails("a retried identical complete succeeds", (200, ""), complete, s3, "whole", upload_id, done)
    equal(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []), [], "no upload is left open")
    for number, data in enumerate(parts, 1):
        got = s3.get_object(Bucket=BUCKET, Key="whole", PartNumber=number)
        equal((got["ResponseMetadata"]["HTTPStatusCode"], got["PartsCount"], got["ContentLength"], body_of(got) == data),
              (206, 3, len(data), True), f"GET ?partNumber={number}")
    got = s3.head_object(Bucket=BUCKET, Key="whole", PartNumber=2)
    equal((got["PartsCount"], got["ContentLength"]), (3, len(parts[1])), "HEAD ?partNumber=2")
    fails("a part that is not there", [(416, "InvalidPartNumber"), (416, "InvalidRange")], s3.get_object, Bucket=BUCKET, Key="whole", PartNumber=4)
    got = s3.get_object_attributes(Bucket=BUCKET, Key="whole", ObjectAttributes=["ETag", "ObjectParts", "ObjectSize"])
    equal((got["ETag"], got["ObjectSize"], got["ObjectParts"].get("TotalPartsCount")),
          (etag_of(parts).strip('"'), sum(map(len, parts)), 3), "GetObjectAttributes of a multipart object")
    edge = len(parts[0])
    got = s3.get_object(Bucket=BUCKET, Key="whole", Range=f"bytes={edge - 10}-{edge + 9}")
    same(body_of(got), b"".join(parts)[edge - 10:edge + 10], "a range over the edge of two parts")


def mistakes(s3):
    upload_id, done = upload(s3, "bad", [noise(1, PART), noise(2, 100), noise(3, 100)])
    fails("a small part in the middle", (400, "EntityTooSmall"), complete, s3, "bad", upload_id, done)
    fails("parts out of order", (400, "InvalidPartOrder"), complete, s3, "bad", upload_id, [done[2], done[0]])
    fails("a part twice", (400, "InvalidPartOrder"), complete, s3, "bad", upload_id, [done[0], done[0]])
    fails("a part that was not sent", (400, "InvalidPart"), complete, s3, "bad", upload_id, [done[0], {"PartNumber": 9, "ETag": done[1]["ETag"]}])
    fails("a part with another ETag", (400, "InvalidPart"), complete, s3, "bad", upload_id, [dict(done[0], ETag=done[1]["ETag"])])
    fails("no parts at all", (400, "MalformedXML"), complete, s3, "bad", upload_id, [])
    fails("after all that it completes with what is right", (200, ""), complete, s3, "bad", upload_id, done[:2])
    equal(s3.head_object(Bucket=BUCKET, Key="bad")["ContentLength"], PART + 100, "with the parts that were named")
    for number in (0, 10001, -1):
        fails(f"part number {number}", (400, "InvalidArgument"), s3.upload_part, Bucket=BUCKET, Key="bad", UploadId=upload_id, PartNumber=number, Body=b"")
    for name, call in (("upload_part", dict(PartNumber=1, Body=b"x")), ("list_parts", {}), ("abort_multipart_upload", {})):
        fails(f"{name} of an unknown upload", (404, "NoSuchUpload"), getattr(s3, name), Bucket=BUCKET, Key="bad", UploadId="bm8tc3VjaC11cGxvYWQ", **call)
    fails("complete of an unknown upload", (404, "NoSuchUpload"), complete, s3, "never", "bm8tc3VjaC11cGxvYWQ", done)
    upload_id, done = upload(s3, "gone", [noise(1, 1000)])
    fails("abort", (204, ""), s3.abort_multipart_upload, Bucket=BUCKET, Key="gone", UploadId=upload_id)
    fails("complete of an aborted upload", (404, "NoSuchUpload"), complete, s3, "gone", upload_id, done)
    fails("nothing is there", (404, "404"), s3.head_object, Bucket=BUCKET, Key="gone")


def replaced_part(s3):
    upload_id, done = upload(s3, "again", [noise(1, PART), b"first try"])
    answer = s3.upload_part(Bucket=BUCKET, Key="again", UploadId=upload_id, PartNumber=2, Body=b"second try")
    fails("the ETag of a replaced part", (400, "InvalidPart"), complete, s3, "again", upload_id, done)
    done[1]["ETag"] = answer["ETag"]
    complete(s3, "again", upload_id, done)
    got = s3.get_object(Bucket=BUCKET, Key="again", Range=f"bytes={PART}-")
    equal(body_of(got), b"second try", "a part sent again replaces the first")


def two_uploads(s3):
    one, one_done = upload(s3, "same", [noise(1, 1000)])
    two, two_done = upload(s3, "same", [noise(2, 1000)])
    check(one != two, "two uploads of one key have two ids")
    complete(s3, "same", two, two_done)
    complete(s3, "same", one, one_done)
    same(body_of(s3.get_object(Bucket=BUCKET, Key="same")), noise(1, 1000), "the later complete wins")
    upload_id, done = upload(s3, "same", [b"x"])
    with extra_headers(s3, "CompleteMultipartUpload", {"If-None-Match": "*"}):
        fails("Complete with If-None-Match: *", (412, "PreconditionFailed"), complete, s3, "same", upload_id, done)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="same", UploadId=upload_id)


def many_parts(s3):
    numbers = [1, 7, 5000, 10000]
    upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key="gaps")["UploadId"]
    done = []
    for number in reversed(numbers):
        answer = s3.upload_part(Bucket=BUCKET, Key="gaps", UploadId=upload_id, PartNumber=number, Body=noise(number, PART))
        done.insert(0, {"PartNumber": number, "ETag": answer["ETag"]})
    complete(s3, "gaps", upload_id, done)
    same(body_of(s3.get_object(Bucket=BUCKET, Key="gaps")), b"".join(noise(n, PART) for n in numbers),
         "parts sent backwards with gaps come back in order")


def part_copies(s3):
    data = noise(11, 12 * MIB + 5)
    s3.put_object(Bucket=BUCKET, Key="source", Body=data)
    source = f"{BUCKET}/source"
    upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key="pieces")["UploadId"]

    def piece(number, first, last):
        answer = s3.upload_part_copy(Bucket=BUCKET, Key="pieces", UploadId=upload_id, PartNumber=number, CopySource=source,
                                     CopySourceRange=f"bytes={first}-{last}")
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}
    done = [piece(1, 1, 6 * MIB), piece(2, 3, 3 + PART - 1), piece(3, len(data) - 1, len(data) - 1)]
    want = [data[1:6 * MIB + 1], data[3:3 + PART], data[-1:]]
    equal(done[1]["ETag"], f'"{hashlib.md5(want[1]).hexdigest()}"', "UploadPartCopy: the part's ETag is the MD5 of the range")
    fails("a copy range past the end", [(416, "InvalidRange"), (400, "InvalidRange"), (400, "InvalidArgument")], s3.upload_part_copy,
          Bucket=BUCKET, Key="pieces", UploadId=upload_id, PartNumber=4, CopySource=source, CopySourceRange=f"bytes=0-{len(data)}")
    fails("a copy range that is none", (400, "InvalidArgument"), s3.upload_part_copy, Bucket=BUCKET, Key="pieces",
          UploadId=upload_id, PartNumber=4, CopySource=source, CopySourceRange="bytes=9-")
    fails("a part copy of a missing source", (404, "NoSuchKey"), s3.upload_part_copy, Bucket=BUCKET, Key="pieces",
          UploadId=upload_id, PartNumber=4, CopySource=f"{BUCKET}/none")
    complete(s3, "pieces", upload_id, done)
    s3.delete_object(Bucket=BUCKET, Key="source")
    same(body_of(s3.get_object(Bucket=BUCKET, Key="pieces")), b"".join(want), "UploadPartCopy: the right bytes, after the source went")


def sums(s3):
    parts = [noise(21, PART), noise(22, 70_000)]
    for algorithm in ("SHA256", "CRC32"):
        upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key=f"composite-{algorithm}", ChecksumAlgorithm=algorithm)["UploadId"]
        done, field = [], f"Checksum{algorithm}"
        for number, data in enumerate(parts, 1):
            answer = s3.upload_part(Bucket=BUCKET, Key=f"composite-{algorithm}", UploadId=upload_id, PartNumber=number, Body=data,
                                    ChecksumAlgorithm=algorithm)
            equal(answer.get(field), checksum(algorithm, data), f"{algorithm}: of part {number}")
            done.append({"PartNumber": number, "ETag": answer["ETag"], field: answer.get(field, "")})
        answer = complete(s3, f"composite-{algorithm}", upload_id, done)
        raw = b"".join(base64.b64decode(checksum(algorithm, data)) for data in parts)
        want = f"{checksum(algorithm, raw)}-2"
        equal(answer.get(field), want, f"{algorithm}: COMPOSITE of the whole")
        got = s3.head_object(Bucket=BUCKET, Key=f"composite-{algorithm}", ChecksumMode="ENABLED")
        equal(got.get(field), want, f"{algorithm}: COMPOSITE comes back")
        got = s3.get_object(Bucket=BUCKET, Key=f"composite-{algorithm}", PartNumber=2, ChecksumMode="ENABLED")
        told = got["ResponseMetadata"]["HTTPHeaders"]
        equal((told.get(f"x-amz-checksum-{algorithm.lower()}"), told.get("x-amz-checksum-type")), (checksum(algorithm, parts[1]), "COMPOSITE"),
              f"{algorithm}: of a part, which the object's type goes with")
    fields = s3.meta.service_model.operation_model("CreateMultipartUpload").input_shape.members
    if "ChecksumType" in fields:
        full_object_sums(s3, parts)


def full_object_sums(s3, parts):
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME"):
        key, field = f"full-{algorithm}", f"Checksum{algorithm}"
        upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")["UploadId"]
        done = []
        for number, data in enumerate(parts, 1):
            answer = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=number, Body=data, **{field: checksum(algorithm, data)})
            done.append({"PartNumber": number, "ETag": answer["ETag"], field: checksum(algorithm, data)})
        want = checksum(algorithm, b"".join(parts))
        fails(f"{algorithm}: FULL_OBJECT with a wrong value", [(400, "BadDigest"), (400, "XAmzContentChecksumMismatch")], complete, s3, key,
              upload_id, done, ChecksumType="FULL_OBJECT", **{field: checksum(algorithm, b"other")})
        answer = complete(s3, key, upload_id, done, ChecksumType="FULL_OBJECT", **{field: want})
        equal((answer.get(field), answer.get("ChecksumType")), (want, "FULL_OBJECT"), f"{algorithm}: FULL_OBJECT of the whole")
        got = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        equal((got.get(field), got.get("ChecksumType"), body_of(got) == b"".join(parts)), (want, "FULL_OBJECT", True),
              f"{algorithm}: FULL_OBJECT comes back")
    fails("SHA256 cannot be FULL_OBJECT", (400, "InvalidRequest"), s3.create_multipart_upload, Bucket=BUCKET, Key="no",
          ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")


def managed_transfer(s3):
    """upload_file/download_file: threads, parts, and in new SDKs a checksum in a trailer of each part."""
    import io
    data = noise(31, 33 * MIB + 9)
    s3.upload_fileobj(io.BytesIO(data), BUCKET, "managed")
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, "managed", back)
    same(back.getvalue(), data, "upload_fileobj and download_fileobj: the same bytes")


def empty_and_uploads(s3):
    uploads = [("a/1", ""), ("a/2", ""), ("b", "")]
    ids = [(key, s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]) for key, _ in uploads]
    got = s3.list_multipart_uploads(Bucket=BUCKET, Delimiter="/")
    equal(([u["Key"] for u in got.get("Uploads", [])], [p["Prefix"] for p in got.get("CommonPrefixes", [])]), (["b"], ["a/"]),
          "ListMultipartUploads with a delimiter")
    got = s3.list_multipart_uploads(Bucket=BUCKET, MaxUploads=1)
    equal((got["IsTruncated"], got["NextKeyMarker"], len(got["Uploads"])), (True, "a/1", 1), "ListMultipartUploads in pages")
    got = s3.list_multipart_uploads(Bucket=BUCKET, KeyMarker=got["NextKeyMarker"], UploadIdMarker=got["NextUploadIdMarker"])
    equal([u["Key"] for u in got["Uploads"]], ["a/2", "b"], "ListMultipartUploads: the next page")
    for key, upload_id in ids:
        s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)
    equal(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []), [], "all aborted")


SECTIONS = [whole, mistakes, replaced_part, two_uploads, many_parts, part_copies, sums, managed_transfer, empty_and_uploads]
