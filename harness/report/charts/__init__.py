"""What charts are made of: axes, labels, marks and the kinds of charts, as inline SVG."""
