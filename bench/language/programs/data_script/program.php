<?php

const WINDOW = 5000; // messages until all rates and queues are empty again

class Deferred extends Exception
{
}

class Gateway
{
    public $rates = [];
    public $queued = [];
}

class Message
{
    public $gateway;
    public $senderdomain;
    public $saslusername;
    public $messageid;
    public $headers;
    public $rpd;
    public $sa;
    public $metadata = [];

    public function __construct($gateway, $i)
    {
        $this->gateway = $gateway;
        $this->senderdomain = "domain" . ($i % 40) . ".example";
        $this->saslusername = $i % 3 == 0 ? "login" . ($i % 25) : "";
        $this->messageid = "m$i";
        $this->headers = $i % 5 == 0 ? ["X-PHP-Originating-Script" => "33:mail" . ($i % 10) . ".php"] : [];
        $this->rpd = [0, 0, 50, 0, 100, 10, 0][$i % 7];
        $this->sa = $i * 7 % 9;
    }
}

function get_header($message, $name)
{
    return $message->headers[$name] ?? null;
}

function scan_rpd($message)
{
    return $message->rpd;
}

function scan_sa($message)
{
    return $message->sa;
}

function rate($message, $namespace, $entry, $count, $interval)
{
    $gateway = $message->gateway;
    $used = $gateway->rates[$namespace][$entry] ?? 0;
    if ($count == 0) {
        return $used;
    }
    if ($used >= $count) {
        return false;
    }
    $gateway->rates[$namespace][$entry] = $used + 1;
    return true;
}

function set_metadata($message, $metadata)
{
    $message->metadata = $metadata;
}

function get_mail_queue_metric($message, $options)
{
    return $message->gateway->queued[$options["filter"]["senderdomain"]] ?? 0;
}

function defer($reason)
{
    throw new Deferred($reason);
}

function data($message)
{
    $customer = $message->senderdomain;
    if (get_header($message, "X-PHP-Originating-Script")) {
        $customer = get_header($message, "X-PHP-Originating-Script");
    }
    if ($message->saslusername) {
        $customer = $message->saslusername;
    }

    if ((scan_rpd($message) == 50 || scan_sa($message) > 4) && !rate($message, "outbound-bulk", $customer, 300, 28800)) {
        defer("You are only allowed to send 300 bulk messages per 8 hours, try later {$message->messageid}");
    }
    if ((scan_rpd($message) == 100 || scan_sa($message) > 6) && !rate($message, "outbound-spam", $customer, 100, 28800)) {
        defer("You are only allowed to send 100 spam messages per 8 hours, try later {$message->messageid}");
    }
    if (scan_rpd($message) > 0 || scan_sa($message) > 3) {
        set_metadata($message, ["spam" => "yes"]);
    }

    if (rate($message, "delivery-failures", $message->senderdomain, 0, 3600) > 999) {
        defer("{$message->senderdomain} has more than 1000 failed deliveries during the last hour");
    }
    if (get_mail_queue_metric($message, ["filter" => ["senderdomain" => $message->senderdomain]]) > 500) {
        defer("{$message->senderdomain} has exceeded the max queue limit of 500 messages");
    }
}

function main(int $size): string
{
    $accepted = $deferred = $spam = $letters = 0;
    for ($i = 0; $i < $size; $i++) {
        if ($i % WINDOW == 0) {
            $gateway = new Gateway();
        }
        $message = new Message($gateway, $i);
        try {
            data($message);
            $accepted += 1;
            $gateway->queued[$message->senderdomain] = ($gateway->queued[$message->senderdomain] ?? 0) + 1;
        } catch (Deferred $verdict) {
            $deferred += 1;
            $letters += strlen($verdict->getMessage());
        }
        if (($message->metadata["spam"] ?? null) == "yes") {
            $spam += 1;
        }
    }
    return "accepted $accepted deferred $deferred spam $spam letters $letters";
}
