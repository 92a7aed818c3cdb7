"""The wire: configuration, inbound server, outbound client, delivery scheduler."""
