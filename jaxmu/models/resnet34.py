"""ResNet-34: ResNet-18 with deeper stages (He et al. 2015)."""

from jaxmu.models.resnet import ResNet


class ResNet34(ResNet):
  """Basic blocks, 3, 4, 6 and 3 a stage; 21.8 million parameters with 1,000 classes."""

  called = "resnet34"
  depths = (3, 4, 6, 3)
