def make(n, seed):
    rows = []
    for i in range(n):
        rows.append([])
        for j in range(n):
            rows[i].append((i * seed + j) % 10)
    return rows


def multiply(a, b, n):
    rows = []
    for i in range(n):
        row = []
        for j in range(n):
            sum_ = 0
            for k in range(n):
                sum_ += a[i][k] * b[k][j]
            row.append(sum_)
        rows.append(row)
    return rows


def main(size):
    product = multiply(make(size, 3), make(size, 7), size)
    checksum = 0
    for row in product:
        for j, value in enumerate(row):
            checksum = (checksum + value * (j + 1)) % 1000003
    return f"checksum {checksum}"
