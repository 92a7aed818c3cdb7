'use strict';
// What scripts/outbound asks of a message, as a Haraka plugin: the same rates over the same windows, kept in memory.
// The numbers come from config/rates.json, written by the bench; the test strings are those of the embedded scanner.

const crypto = require('node:crypto');

const windows = new Map();  // name and entry to the times of its hits
const queued = new Map();   // sender domain to its messages in the queue
const HOUR = 3600 * 1000, SCAN = 28800 * 1000;
const BULK = 'ZQW*7RKDMTXPV2.KLDB9*4HJWNA*HSL-OUTBREAK-TEST-BULK*C.50X';
const SPAM = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X';
let limits;

function rate(name, entry, count, interval) {
    const key = `${name}\0${entry}`, now = Date.now();
    const hits = windows.get(key) || [];
    while (hits.length && hits[0] <= now - interval) hits.shift();
    if (count === 0) return hits.length;
    if (hits.length >= count) return false;
    hits.push(now);
    windows.set(key, hits);
    return true;
}

function count(domain, by) {
    queued.set(domain, (queued.get(domain) || 0) + by);
}

exports.register = function () {
    limits = this.config.get('rates.json');
};

exports.hook_lookup_rdns = (next) => next(OK, 'localhost');  // no questions to a DNS

exports.hook_mail = (next, connection) => {
    connection.relaying = true;
    next(OK);
};

exports.hook_rcpt = (next, connection) => {
    const domain = connection.transaction.mail_from.host;
    if (domain) {
        if (rate('outbound', domain, limits.maxperhour, HOUR) === false)
            return next(DENYSOFT, `You may only send ${limits.maxperhour} messages per hour, try later`);
        if (rate('delivery-failures', domain, 0, HOUR) > limits.maxfailures)
            return next(DENYSOFT, `${domain} has more than ${limits.maxfailures} failed deliveries`);
        if ((queued.get(domain) || 0) > limits.maxqueue)
            return next(DENYSOFT, `${domain} has exceeded the max queue limit of ${limits.maxqueue} messages`);
    }
    next(OK);
};

exports.hook_data = (next, connection) => {
    connection.transaction.parse_body = false;
    next();
};

exports.hook_data_post = (next, connection) => {
    const transaction = connection.transaction;
    transaction.message_stream.get_data((message) => {
        const customer = transaction.header.get('X-PHP-Originating-Script').trim() || transaction.mail_from.host;
        const spam = message.includes(SPAM), bulk = message.includes(BULK);
        if (bulk && rate('outbound-bulk', customer, limits.maxbulk, SCAN) === false)
            return next(DENYSOFT, `You are only allowed to send ${limits.maxbulk} bulk messages per 8 hours, try later`);
        if (spam && rate('outbound-spam', customer, limits.maxspam, SCAN) === false)
            return next(DENYSOFT, `You are only allowed to send ${limits.maxspam} spam messages per 8 hours, try later`);
        transaction.notes.spam = spam || bulk;
        count(transaction.mail_from.host, 1);
        next();
    });
};

exports.hook_get_mx = (next, hmail, domain) => {
    const sender = hmail.todo.mail_from.host || '';
    const hash = parseInt(crypto.createHash('md5').update(sender).digest('hex').slice(0, 6), 16);
    const bind = hmail.todo.notes.spam ? '127.0.0.14' : `127.0.0.1${1 + hash % 3}`;
    next(OK, { priority: 0, exchange: '127.0.0.1', port: limits.sink, bind });
};

exports.hook_delivered = (next, hmail) => {
    count(hmail.todo.mail_from.host, -1);
    next();
};

exports.hook_deferred = (next, hmail) => {
    rate('delivery-failures', hmail.todo.mail_from.host, 1000, HOUR);
    next();
};

exports.hook_bounce = (next, hmail) => {
    rate('delivery-failures', hmail.todo.mail_from.host, 1000, HOUR);
    count(hmail.todo.mail_from.host, -1);
    next();
};
