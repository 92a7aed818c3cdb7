class Bucket:
    def __init__(self, limit):
        self._level = 0
        self._refused = 0
        self.limit = limit

    def room(self):
        return self.limit - self._level

    def take(self, n):
        if n > self.room():
            self._refused += 1
            return False
        self._level += n
        return True

    def leak(self, n):
        self._level -= n
        if self._level < 0:
            self._level = 0

    def refusals(self):
        return self._refused


def main(size):
    taken = 0
    refused = 0
    for i in range(size):
        bucket = Bucket(10 + i % 5)
        for j in range(20):
            if bucket.take(j % 4):
                taken += 1
            bucket.leak(1)
        refused += bucket.refusals()
    return f"taken {taken} refused {refused}"
