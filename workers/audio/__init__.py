"""Audio: decoding files of any kind and measuring what they sound like."""
