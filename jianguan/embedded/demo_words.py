"""The words of the simulated feed: trades, names, what people complain about. Data only; nothing in it is real."""

from __future__ import annotations

from typing import Final, NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


class Trade(NamedTuple):
    """A kind of business: its industry, how its names end, what is said about it, and what it sells."""

    key: str
    industry: str  # GB/T 4754-2017
    endings: tuple[str, ...]
    categories: tuple[str, ...]
    items: tuple[str, ...]


TRADES: Final[tuple[Trade, ...]] = (
    Trade("restaurant", "H621", ("餐饮管理有限公司", "酒楼有限公司", "餐饮有限公司"),
          ("food-safety", "food-safety", "price", "service", "fire-safety", "noise"),
          ("水煮鱼", "凉拌海蜇", "烤鸭", "火锅套餐", "婚宴", "小龙虾")),
    Trade("takeaway", "H624", ("餐饮配送有限公司", "快餐服务有限公司"),
          ("food-safety", "service", "online-trade"), ("盖浇饭外卖", "麻辣烫外卖", "轻食套餐", "团餐盒饭")),
    Trade("supermarket", "F5212", ("超市有限公司", "商贸有限公司", "生鲜超市有限公司"),
          ("food-safety", "price", "product-quality", "advertising"),
          ("散装熟食", "冷冻虾仁", "袋装牛奶", "车厘子", "食用油")),
    Trade("pharmacy", "F5251", ("大药房有限公司", "医药连锁有限公司"),
          ("drug-safety", "price", "advertising", "medical-device"), ("降压药", "感冒颗粒", "中药饮片", "血糖试纸")),
    Trade("gym", "R89", ("健身服务有限公司", "体育文化发展有限公司"),
          ("prepaid-card", "prepaid-card", "service", "fraud"), ("年卡", "私教课", "游泳卡")),
    Trade("beauty", "O80", ("美容美发有限公司", "形象设计有限公司"),
          ("prepaid-card", "service", "advertising", "medical-device"), ("护理充值卡", "烫染套餐", "美容疗程")),
    Trade("training", "P83", ("教育科技有限公司", "培训学校有限公司"),
          ("prepaid-card", "advertising", "fraud", "service"), ("英语课程", "编程课程", "考研辅导", "舞蹈课")),
    Trade("shop", "I64", ("电子商务有限公司", "网络科技有限公司"),
          ("online-trade", "online-trade", "product-quality", "privacy", "intellectual-property", "advertising"),
          ("蓝牙耳机", "羽绒服", "运动鞋", "扫地机器人", "化妆品")),
    Trade("appliances", "F52", ("电器销售有限公司", "家居用品有限公司"),
          ("product-quality", "recall", "service", "price"), ("电热水器", "空调", "燃气灶", "儿童座椅", "充电宝")),
    Trade("cars", "F52", ("汽车销售服务有限公司", "汽车贸易有限公司"),
          ("product-quality", "recall", "price", "service"), ("新能源汽车", "动力电池", "轮胎", "二手车")),
    Trade("property", "K70", ("物业管理有限公司", "物业服务有限公司"),
          ("special-equipment", "special-equipment", "fire-safety", "housing", "price", "sanitation"),
          ("住宅电梯", "消防通道", "地下车库", "物业费")),
    Trade("chemicals", "C26", ("化工有限公司", "新材料有限公司"),
          ("environment", "environment", "special-equipment", "wages"), ("废气", "废水", "压力容器")),
    Trade("construction", "E47", ("建筑工程有限公司", "建设集团有限公司"),
          ("wages", "wages", "noise", "environment", "street"), ("工程款", "塔吊", "夜间施工", "扬尘")),
    Trade("couriers", "G60", ("快递有限公司", "供应链管理有限公司"),
          ("service", "privacy", "wages"), ("快递包裹", "冷链包裹")),
    Trade("food-maker", "C14", ("食品有限公司", "食品科技有限公司"),
          ("food-safety", "product-quality", "recall", "intellectual-property"),
          ("自热米饭", "饼干", "酱卤肉制品", "婴幼儿辅食")),
    Trade("hotel", "H611", ("酒店管理有限公司", "宾馆有限公司"),
          ("service", "price", "fire-safety", "privacy", "sanitation"), ("标准间", "会议套餐", "钟点房")),
)  # fmt: skip

FANCY_WORDS: Final = _words(
    "鼎盛 福满 好味 金源 瑞丰 宏达 百味 恒通 天和 汇民 锦绣 东方 祥云 万家 星辰 佳和 "
    "顺达 悦享 康宁 华夏 聚福 蓝海 玉泉 春晖 同心 乐居 安泰 优品 隆昌 广源 长青 德信 "
    "美林 新跃 惠邻 吉祥 飞扬 永胜 嘉禾 润泽"
)
FANCY_ENDINGS: Final = _words("斋 源 记 坊 隆 达 盛 轩 阁 庭")

# Cities whose counties the feed uses: prefix of the region code, short name, latitude, longitude.
CITIES: Final[tuple[tuple[str, str, float, float], ...]] = (
    ("3101", "上海", 31.23, 121.47),
    ("1101", "北京", 39.90, 116.40),
    ("4401", "广州", 23.13, 113.26),
    ("4403", "深圳", 22.55, 114.06),
    ("3301", "杭州", 30.27, 120.16),
    ("3201", "南京", 32.06, 118.80),
    ("5101", "成都", 30.66, 104.07),
    ("5001", "重庆", 29.56, 106.55),
    ("4201", "武汉", 30.59, 114.30),
    ("6101", "西安", 34.34, 108.94),
    ("2101", "沈阳", 41.80, 123.43),
    ("3702", "青岛", 36.07, 120.38),
    ("3502", "厦门", 24.48, 118.09),
    ("4301", "长沙", 28.23, 112.94),
    ("4101", "郑州", 34.75, 113.63),
)

SURNAMES: Final = tuple("王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹")
GIVEN_NAMES: Final = _words(
    "伟 芳 娜 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 明 超 秀英 霞 平 刚 桂英 "
    "子轩 梓涵 浩然 欣怡 宇航 佳琪 建国 志强 雨桐 晓东 海燕 文博 思远"
)
STREETS: Final = _words("人民路 解放路 中山路 建设路 和平街 文化路 新华街 长江路 学府路 迎宾大道 滨河路 红旗街")
COMPOUNDS: Final = _words("阳光花园 翠湖苑 金桂园 御景湾 幸福里 锦绣华庭 龙湖名邸 春江花园 紫荆苑 香榭里")
PLATFORMS: Final = ("乐购通", "拼享汇", "优选达", "短视优品", "邻里团")
CHANNELS: Final = ("phone", "app", "web", "wechat", "visit", "letter")
MOBILE_PREFIXES: Final = ("130", "135", "138", "139", "150", "158", "159", "176", "181", "186", "188", "199")

# Slots: {name} the enterprise, {item} what it sells, {yuan} money, {when} a time, {address} a place.
TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "food-safety": (
        "{when}在{name}购买的{item}有明显异味，包装上没有生产日期，要求核查。",
        "{name}的{item}里吃出头发和铁丝，与店家沟通无果。",
        "在{name}发现{item}已过保质期仍在销售，有照片为证。",
        "{name}后厨卫生差，地面积水，操作人员未戴口罩，希望检查。",
        "{when}在{name}吃了{item}后肚子疼，怀疑食材不新鲜。",
        "举报{name}使用来源不明的冻肉加工{item}。",
    ),
    "drug-safety": (
        "{name}无处方销售{item}，店内没有执业药师。",
        "在{name}买的{item}批号与外包装不一致，怀疑是假药。",
        "{name}销售的{item}超过有效期三个月。",
    ),
    "medical-device": (
        "{name}使用未经注册的仪器做项目，没有中文标识。",
        "在{name}购买的{item}测量值偏差很大，厂家不予检定。",
    ),
    "special-equipment": (
        "{address}的{item}经常异响，检验标志过期，物业{name}不维修。",
        "{name}管理的{item}门关不严，多次报修没有结果。",
        "{name}的{item}未见使用登记证，担心有安全隐患。",
    ),
    "price": (
        "{name}标价{yuan}元，结账时多收，未明码标价。",
        "{name}的{item}先涨价后打折，属于价格欺诈。",
        "{name}收取{yuan}元服务费，事先没有告知。",
    ),
    "advertising": (
        "{name}在广告中使用“最佳”“国家级”等绝对化用语宣传{item}。",
        "{name}宣传{item}包过包治，与实际不符。",
        "{name}朋友圈广告称{item}有治疗功效，涉嫌虚假宣传。",
    ),
    "online-trade": (
        "{when}在平台上购买{name}的{item}，收到货后与描述不符，商家不支持七日无理由退货。",
        "{name}付款后一直不发货，客服不回复，订单金额{yuan}元。",
        "{name}刷单炒信，评价都是假的。",
    ),
    "prepaid-card": (
        "在{name}充值{yuan}元的{item}，现在要求退余额，店家以各种理由推脱。",
        "{name}的{item}说好随时可退，实际要扣百分之三十手续费。",
        "{name}更换了老板，原来的{item}不让用了，还剩{yuan}元。",
    ),
    "product-quality": (
        "{when}从{name}购买的{item}使用不到一个月就坏了，商家拒绝三包。",
        "{name}的{item}没有3C认证标志，插头发热严重。",
        "{name}出售的{item}是翻新机，要求退一赔三。",
    ),
    "recall": (
        "{name}的{item}已公布召回，门店却说不知情，不予处理。",
        "{name}的{item}使用中突然冒烟，同型号很多人遇到，请求调查缺陷。",
    ),
    "fire-safety": (
        "{name}安全出口上锁，消防通道堆满货物。",
        "{address}地下室住人并存放电瓶充电，管理单位{name}不管。",
    ),
    "environment": (
        "{name}夜间偷排{item}，附近居民无法开窗。",
        "{address}附近河水发黑，上游是{name}。",
    ),
    "wages": (
        "{name}拖欠农民工工资三个月，共计{yuan}元，项目部负责人推诿。",
        "在{name}工作半年未签劳动合同，离职后不结清工资{yuan}元。",
    ),
    "privacy": (
        "{name}的应用强制读取通讯录，不同意就不能使用。",
        "在{name}登记后每天接到推销电话，怀疑个人信息被泄露。",
    ),
    "fraud": (
        "{name}以内部名额为由收取{yuan}元，之后失去联系，涉嫌诈骗。",
        "{name}诱导老人购买{item}，承诺高额返利。",
    ),
    "service": (
        "{name}服务态度恶劣，预约的{item}临时取消，不退定金{yuan}元。",
        "{name}把{item}弄丢了，只同意赔偿运费。",
    ),
    "intellectual-property": (
        "{name}销售的{item}假冒注册商标，与正品对比明显。",
        "{name}盗用我公司的图片和专利销售{item}。",
    ),
    "sanitation": (
        "{address}垃圾清运不及时，蚊蝇很多，负责单位{name}。",
        "{name}的床品未更换，卫生间有霉斑。",
    ),
    "housing": (
        "{address}楼顶漏水，物业{name}动用维修资金不公示。",
        "{name}擅自把公共绿地改为停车位收费。",
    ),
    "noise": (
        "{name}每天凌晨还在作业，噪声很大，老人孩子无法休息。",
        "{address}商铺{name}用音响招揽生意，噪声扰民。",
    ),
    "street": (
        "{name}施工围挡占用人行道，夜间没有警示灯，有人摔伤。",
        "{address}路面被{name}挖开后没有恢复。",
    ),
}
DEMANDS: Final = ("要求退款", "要求依法查处", "要求赔偿损失", "要求退还余额", "要求公开道歉", "希望尽快核实回复")

# What a burst is: key -> (trade, category, texts, tags). The words are those that people use when it happens.
BURSTS: Final[dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]]] = {
    "food-poisoning": (
        "restaurant",
        "food-safety",
        (
            "昨晚在{name}聚餐后全家腹泻、呕吐，已到医院就诊，怀疑食物中毒。",
            "中午在{name}吃饭，下午开始上吐下泻，同桌五人都有呕吐症状，疑似食物中毒。",
            "在{name}吃了凉菜后剧烈腹泻并发烧，医生诊断为食物中毒，要求查封。",
            "公司在{name}团建，二十多人出现腹泻呕吐，有人住院。",
            "孩子在{name}吃完生日餐后一直呕吐，急诊说是食物中毒。",
        ),
        ("food-poisoning",),
    ),
    "gym-run-off": (
        "gym",
        "prepaid-card",
        (
            "{name}突然关门，老板失联，我的年卡还剩{yuan}元，疑似跑路。",
            "今天去{name}发现人去楼空，器材都搬走了，会员卡余额{yuan}元要求退还。",
            "{name}贴出停业通知就跑路了，群里几百名会员联系不上经营者。",
            "上周{name}还在搞促销充值，今天就闭店失联，损失{yuan}元。",
        ),
        ("store-closed",),
    ),
    "refund-refused": (
        "shop",
        "online-trade",
        (
            "在平台购买{name}的{item}，七天无理由退货被拒绝退款，金额{yuan}元。",
            "{name}收到退货后拒不退款，客服把我拉黑。",
            "{name}以促销商品为由拒绝退款，平台也不处理。",
            "{name}虚假发货，申请退款被拒绝三次。",
        ),
        ("refund-refused",),
    ),
    "elevator": (
        "property",
        "special-equipment",
        (
            "{address}的电梯今天又困人了，老人被困半小时，物业{name}无人应答。",
            "{address}电梯从八楼下坠到四楼才停，住户受惊，要求停用检验。",
            "{address}电梯门夹人，应急电话打不通，维保单位和{name}互相推诿。",
            "{address}三号楼电梯一周内故障五次，{name}只重启不维修。",
        ),
        ("elevator",),
    ),
    "odour": (
        "chemicals",
        "environment",
        (
            "{address}一带空气中有刺鼻的恶臭，像臭鸡蛋，多人头晕。",
            "晚上开始闻到强烈的化工异味，整个小区都不敢开窗，位置在{address}。",
            "{address}附近异味严重，孩子咳嗽流泪，请环保部门立即排查。",
            "凌晨刺激性气味又来了，{address}的居民都闻到，怀疑有企业偷排废气。",
        ),
        ("odour",),
    ),
}
