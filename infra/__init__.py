"""What running Gatehouse in an account needs: build recipes and operators' tools."""
