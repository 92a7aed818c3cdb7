def main(size):
    counts = {}
    bytes_ = {}
    seed = 7
    dropped = 0
    for i in range(size):
        seed = (seed * 1103 + 12345) % 65536
        sender = "user" + str(seed % 3000) + "@example.com"
        if sender in counts:
            counts[sender] += 1
            bytes_[sender]["total"] += seed % 100
        else:
            counts[sender] = 1
            bytes_[sender] = {"total": seed % 100, "first": i}
        if counts[sender] > 40:
            del counts[sender]
            dropped += 1
    messages = 0
    for sender, count in counts.items():
        messages += count + len(sender)
    sum_ = 0
    for entry in bytes_.values():
        sum_ += entry["total"] + entry["first"]
    return f"senders {len(counts)} messages {messages} dropped {dropped} sum {sum_}"
