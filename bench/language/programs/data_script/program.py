WINDOW = 5000  # messages until all rates and queues are empty again


class Deferred(Exception):
    pass


class Gateway:
    def __init__(self):
        self.rates = {}
        self.queued = {}


class Message:
    def __init__(self, gateway, i):
        self.gateway = gateway
        self.senderdomain = f"domain{i % 40}.example"
        self.saslusername = f"login{i % 25}" if i % 3 == 0 else ""
        self.messageid = f"m{i}"
        self.headers = {"X-PHP-Originating-Script": f"33:mail{i % 10}.php"} if i % 5 == 0 else {}
        self.rpd = (0, 0, 50, 0, 100, 10, 0)[i % 7]
        self.sa = i * 7 % 9
        self.metadata = {}


def get_header(message, name):
    return message.headers.get(name)


def scan_rpd(message):
    return message.rpd


def scan_sa(message):
    return message.sa


def rate(message, namespace, entry, count, interval):
    rates = message.gateway.rates
    key = (namespace, entry)
    used = rates.get(key, 0)
    if count == 0:
        return used
    if used >= count:
        return False
    rates[key] = used + 1
    return True


def set_metadata(message, metadata):
    message.metadata = dict(metadata)


def get_mail_queue_metric(message, options):
    return message.gateway.queued.get(options["filter"]["senderdomain"], 0)


def defer(reason):
    raise Deferred(reason)


def data(message):
    customer = message.senderdomain
    if get_header(message, "X-PHP-Originating-Script"):
        customer = get_header(message, "X-PHP-Originating-Script")
    if message.saslusername:
        customer = message.saslusername

    if (scan_rpd(message) == 50 or scan_sa(message) > 4) and not rate(message, "outbound-bulk", customer, 300, 28800):
        defer(f"You are only allowed to send 300 bulk messages per 8 hours, try later {message.messageid}")
    if (scan_rpd(message) == 100 or scan_sa(message) > 6) and not rate(message, "outbound-spam", customer, 100, 28800):
        defer(f"You are only allowed to send 100 spam messages per 8 hours, try later {message.messageid}")
    if scan_rpd(message) > 0 or scan_sa(message) > 3:
        set_metadata(message, {"spam": "yes"})

    if rate(message, "delivery-failures", message.senderdomain, 0, 3600) > 999:
        defer(f"{message.senderdomain} has more than 1000 failed deliveries during the last hour")
    if get_mail_queue_metric(message, {"filter": {"senderdomain": message.senderdomain}}) > 500:
        defer(f"{message.senderdomain} has exceeded the max queue limit of 500 messages")


def main(size):
    accepted = deferred = spam = letters = 0
    for i in range(size):
        if i % WINDOW == 0:
            gateway = Gateway()
        message = Message(gateway, i)
        try:
            data(message)
        except Deferred as verdict:
            deferred += 1
            letters += len(verdict.args[0])
        else:
            accepted += 1
            gateway.queued[message.senderdomain] = gateway.queued.get(message.senderdomain, 0) + 1
        if message.metadata.get("spam") == "yes":
            spam += 1
    return f"accepted {accepted} deferred {deferred} spam {spam} letters {letters}"
