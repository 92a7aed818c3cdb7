def main(size):
    text = ""
    bytes_ = 0
    lines = 0
    for i in range(size):
        line = "id=" + str(i)
        line += f" from=<user{i}@example.com>"
        for j in range(3):
            line += ",to" + str(j) + "=<r" + str(i % 100) + "@example.org>"
        line += " status="
        line += "deferred" if i % 3 == 0 else "sent"
        text += line + "\n"
        lines += 1
        if lines == 200:
            bytes_ += len(text)
            text = ""
            lines = 0
    bytes_ += len(text)
    return f"bytes {bytes_} last {line}"
