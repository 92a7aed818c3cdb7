from functools import cmp_to_key


def compare(a, b):
    if a["score"] != b["score"]:
        return -1 if a["score"] > b["score"] else 1
    return -1 if a["name"] < b["name"] else 1


def main(size):
    seed = 11
    checksum = 0
    for _ in range(size):
        records = []
        for i in range(500):
            seed = (seed * 1103 + 12345) % 65536
            records.append({"name": "host" + str(1000 + i), "score": seed % 50})
        ranked = sorted(records, key=cmp_to_key(compare))
        place = 0
        for record in ranked:
            place += 1  # noqa: SIM113 (as the others do)
            checksum += place * record["score"] + int(record["name"][4:]) * (place % 7)
        checksum = checksum % 1000003
    return f"checksum {checksum}"
