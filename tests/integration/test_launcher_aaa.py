def test_servers(servers): pass
