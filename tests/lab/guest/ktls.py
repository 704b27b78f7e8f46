"""The kernel and Debian's OpenSSL do kTLS together: the ground for TLS on the S3 port.

OpenSSL makes the handshake and gives the kernel the keys (SSL_OP_ENABLE_KTLS); from then on sendfile(2) on the plain socket sends records
that the other side decrypts. Both versions of TLS, both key sizes.
"""
import os
import random
import socket
import ssl
import threading

from checks import check, equal, finish, guarded
import lab

MIB = 1 << 20
OP_ENABLE_KTLS = 1 << 3                                 # ssl.OP_ENABLE_KTLS, from Python 3.12 on
CASES = [("TLSv1.3", None), ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")]


def certificate():
    lab.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=lab", "-days", "2",
            "-keyout", "/tmp/key.pem", "-out", "/tmp/cert.pem")


def contexts(version, cipher):
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain("/tmp/cert.pem", "/tmp/key.pem")
    server.options |= OP_ENABLE_KTLS
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version.replace(".", "_"))
        if cipher:
            context.set_ciphers(cipher)
    return server, client


def sent_by_kernel(version, cipher, path, body):
    server, client = contexts(version, cipher)
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def receive():
            with client.wrap_socket(socket.create_connection(listener.getsockname(), 60)) as connection:
                while len(got) < len(body):
                    piece = connection.recv(1 << 16)
                    if not piece:
                        break
                    got.extend(piece)
        reader = threading.Thread(target=receive)
        reader.start()
        plain, _ = listener.accept()
        with server.wrap_socket(plain, server_side=True) as connection, open(path, "rb") as file:
            used, sent = connection.cipher()[0], 0
            while sent < len(body):
                sent += os.sendfile(connection.fileno(), file.fileno(), sent, len(body) - sent)
            reader.join(60)
    return used, bytes(got)


def main():
    done = lab.ktls()
    certificate()
    body = random.Random(3).randbytes(2 * MIB)
    path = os.path.join(lab.format_and_mount("/dev/vda", "ext4", "/mnt/ext4"), "body")
    with open(path, "wb") as file:
        file.write(body)
    for number, (version, cipher) in enumerate(CASES, 1):
        with guarded(version):
            used, got = sent_by_kernel(version, cipher, path, body)
            check(got == body, f"{version}, {used}: what sendfile sent is what the client decrypts", f"{len(got)} bytes")
            equal(done().get("TlsTxSw"), number, f"{version}, {used}: the kernel encrypted it")
    finish()


main()
